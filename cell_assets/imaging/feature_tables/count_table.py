"""Counts of genes in single cells: AnnData's `.h5ad`, one row per cell, one column per gene.

What sequencing counted becomes features like those of images, so that methods of wells run on it as they are. Names of
features say how they were normalised, so that tables of two ways share none.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata._io.specs.registry import IORegistryError
from anndata.io import read_elem, sparse_dataset
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cell_assets.errors import BadInputError
from cell_assets.imaging.feature_tables.columns import CELL, PLATE, WELL, is_feature, known_name
from cell_assets.imaging.feature_tables.count_parameters import CountNormalization, CountParameters

COUNTS_PER_CELL = 10_000
GENE = {
    CountNormalization.LOG_PER_10K: "Cells_LogCounts_",
    CountNormalization.COUNTS: "Cells_Counts_",
}
"""Begins the name of a gene's feature."""
_MOST_BYTES = 2**32
"""Of `obs` and `var` in memory: ten million cells with fifty columns."""
_MOST_GENES = 500_000
_LONGEST_CHUNK = 2**30
"""Bytes that HDF5 decodes at once, whatever part is asked for."""
_UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError, IORegistryError,
)  # fmt: skip
"""What h5py, SciPy and AnnData raise for files that were not written by AnnData, or were damaged since."""
_PLATES, _WELLS = ("plate", PLATE), ("well", WELL)


class CountTable:
    """Single cells of an `.h5ad` file, some rows at a time.

    A cell without any count has no share of a gene: it is left out, and counted by `left_over`.

        parameters = CountParameters(normalization=CountNormalization.LOG_PER_10K, layer="counts", variable_genes=2000)
        write_feature_table(CountTable(path, parameters), folder)

    Raises:
        BadInputError: the file is no AnnData, does not say the plate and well of its cells, names a gene twice, is
            stored by gene, so that cells cannot be read one after another, takes parts from other files, or claims
            what no memory holds.
    """

    def __init__(self, path: Path, parameters: CountParameters, rows_at_once: int = 1024) -> None:
        """
        Args:
            parameters: to choose variable genes, the file is read once, here.
            rows_at_once: cells; memory is that of so many rows of all kept genes, and of `obs`.
        """
        self.path = path
        self._rows_at_once = rows_at_once
        self._normalization = parameters.normalization
        self._counts = "X" if parameters.layer is None else f"layers/{parameters.layer}"
        try:
            with closing(self._open()) as file:
                for name in ("obs", "var", self._counts):
                    self._refuse_hostile(file, name)
                obs, genes = self._frame(file, "obs"), [str(one) for one in self._frame(file, "var").index]
                if len(genes) > _MOST_GENES:
                    raise BadInputError(f"{path}: has {len(genes)} genes; {_MOST_GENES} is the most")
                self._require_counts(file, (len(obs), len(genes)))
            self._genes = genes
            self._obs = self._known(obs, parameters)
        except _UNREADABLE as error:
            raise self._unreadable("obs, var and counts", error) from error
        self.known = tuple(self._obs.columns)
        self.keys: tuple[str, ...] = (PLATE, WELL, CELL)
        self._without_counts = 0
        self._require_names()
        n = parameters.variable_genes
        self._kept = np.arange(len(genes)) if n is None else self._variable(n)
        self.features = tuple(f"{GENE[self._normalization]}{genes[place]}" for place in self._kept)

    def batches(self) -> Iterator[pd.DataFrame]:
        """Cells in the file's order.

        Raises:
            BadInputError: a count is negative or no whole number.
        """
        self._without_counts = 0
        for begin, counts in self._rows():
            shares, has_counts = _shares(counts)
            self._without_counts += int((~has_counts).sum())
            values = self._features(counts, shares)[has_counts]
            known = self._obs.iloc[begin : begin + counts.shape[0]][has_counts].reset_index(drop=True)
            yield pd.concat([known, pd.DataFrame(values, columns=list(self.features))], axis=1)

    def _features(self, counts: csr_array, shares: csr_array) -> NDArray[np.float32]:
        """(n, D) of the kept genes."""
        if self._normalization is CountNormalization.COUNTS:
            return np.asarray(counts[:, self._kept].toarray(), np.float32)
        return np.log1p(shares[:, self._kept].toarray()).astype(np.float32)

    def left_over(self) -> Mapping[str, int]:
        """Cells without any count."""
        return {"Cells": self._without_counts}

    def _rows(self) -> Iterator[tuple[int, csr_array]]:
        """First row and counts (n, G) of cells, n at once."""
        with closing(self._open()) as file:
            for begin in range(0, len(self._obs), self._rows_at_once):
                try:
                    counts = self._counts_of(file, begin)
                except _UNREADABLE as error:
                    raise self._unreadable(self._counts, error) from error
                self._refuse_no_counts(counts, begin)
                yield begin, counts

    def _counts_of(self, file: h5py.File, begin: int) -> csr_array:
        stored = file[self._counts]
        if isinstance(stored, h5py.Dataset):
            return csr_array(stored[begin : begin + self._rows_at_once]).astype(np.float64)
        ends = stored["indptr"][begin : begin + self._rows_at_once + 1].astype(np.int64)
        n_values, n_genes = len(stored["data"]), len(self._genes)
        in_order = (np.diff(ends) >= 0) & (np.diff(ends) <= n_genes)
        if not (in_order.all() and ends[0] >= 0 and ends[-1] <= n_values):
            raise ValueError(f"its indptr says where cells lie as no matrix of {n_genes} genes can")
        counts = csr_array(sparse_dataset(stored)[begin : begin + self._rows_at_once])
        # SciPy's own loops follow indices wherever they lead, out of the process's memory too.
        counts.check_format(full_check=True)
        return counts.astype(np.float64)

    def _variable(self, n: int) -> NDArray[np.intp]:
        """Places (n,) of the genes with the largest dispersion, in the file's order."""
        if n > len(self._genes):
            raise BadInputError(
                f"{self.path}: {n} variable genes cannot be chosen of {len(self._genes)}; ask for fewer, or for all"
            )
        sums, squares, cells = np.zeros(len(self._genes)), np.zeros(len(self._genes)), 0
        for _, counts in self._rows():
            shares, has_counts = _shares(counts)
            sums += shares.sum(0)
            squares += (shares * shares).sum(0)
            cells += int(has_counts.sum())
        mean = sums / max(cells, 1)
        variance = squares / max(cells, 1) - np.square(mean)
        dispersion = np.divide(variance, mean, out=np.zeros_like(mean), where=mean > 0)
        return np.sort(np.argsort(-dispersion, kind="stable")[:n])

    def _refuse_no_counts(self, counts: csr_array, begin: int) -> None:
        wrong = ~((counts.data >= 0) & (counts.data == np.floor(counts.data)) & np.isfinite(counts.data))
        if wrong.any():
            place = int(wrong.argmax())
            row = int(np.searchsorted(counts.indptr, place, side="right")) - 1
            cell, gene = self._obs[CELL].iloc[begin + row], self._genes[counts.indices[place]]
            raise BadInputError(
                f"{self.path}: {self._counts} holds {counts.data[place]:g} of gene {gene} in cell {cell}, which is no "
                "count; name the layer that holds counts as they were made"
            )

    def _known(self, obs: pd.DataFrame, columns: CountParameters) -> pd.DataFrame:
        """`obs` with `Metadata_*` names, beside the names of cells (`obs_names`)."""
        place = {
            self._column(obs, columns.plate, _PLATES, "plate"): PLATE,
            self._column(obs, columns.well, _WELLS, "well"): WELL,
        }
        if len(place) < 2:
            raise BadInputError(
                f"{self.path}: obs column {next(iter(place))} cannot be both plate and well; name two columns"
            )
        names = [place.get(name, known_name(name)) for name in map(str, obs.columns)]
        known = pd.DataFrame(
            {
                CELL: obs.index.to_numpy(str),
                **{
                    name: _plain(obs[column]).reset_index(drop=True)
                    for name, column in zip(names, obs.columns, strict=True)
                    if name is not None
                },
            }
        )
        kept = [CELL, *(name for name in names if name is not None)]
        twice = [name for name in kept if kept.count(name) > 1]
        if twice:
            raise BadInputError(
                f"{self.path}: two columns of obs become {twice[0]}; rename or take out the one that is not meant"
            )
        return known

    def _column(self, obs: pd.DataFrame, asked: str | None, usual: Sequence[str], what: str) -> str:
        found = [name for name in ((asked,) if asked is not None else usual) if name in obs.columns]
        if not found:
            wanted = asked if asked is not None else " or ".join(usual)
            raise BadInputError(
                f"{self.path}: obs has no column {wanted}, which says the {what} of a cell; name one of "
                f"{', '.join(map(str, obs.columns)) or 'none'}"
            )
        return found[0]

    def _require_names(self) -> None:
        """Refuse genes that cannot be told apart as columns, or that no reader of the table takes for features."""
        for name, times in pd.Series(self._genes).value_counts().items():
            if times > 1:
                raise BadInputError(
                    f"{self.path}: gene {name} stands {times} times; make names unique "
                    "(AnnData.var_names_make_unique)"
                )
            if not is_feature(f"{GENE[self._normalization]}{name}"):
                raise BadInputError(f"{self.path}: gene {name} has the name of a place; rename it")

    def _require_counts(self, file: h5py.File, shape: tuple[int, int]) -> None:
        if self._counts not in file:
            layers = ", ".join(file.get("layers", ())) or "none"
            raise BadInputError(
                f"{self.path}: there is no {self._counts}; its layers are {layers}: name that of the counts"
            )
        stored = file[self._counts]
        if not isinstance(stored, h5py.Dataset) and stored.attrs.get("encoding-type") != "csr_matrix":
            raise BadInputError(
                f"{self.path}: {self._counts} is stored as {stored.attrs.get('encoding-type')}, which is not by cell; "
                "write it as csr_matrix"
            )
        found = stored.shape if isinstance(stored, h5py.Dataset) else sparse_dataset(stored).shape
        if tuple(found) != shape:
            raise BadInputError(
                f"{self.path}: {self._counts} is of {found[0]} cells and {found[1]} genes, and obs and var name "
                f"{shape[0]} and {shape[1]}; write the file again"
            )

    def _refuse_hostile(self, file: h5py.File, name: str) -> None:
        """Before a value is read: nothing from other files, and no sizes that no memory holds."""
        try:
            datasets = list(_datasets(file, name)) if name in file else []
        except _UNREADABLE as error:
            raise self._unreadable(name, error) from error
        for dataset in datasets:
            if dataset.is_virtual or dataset.external:
                raise BadInputError(
                    f"{self.path}: {dataset.name} takes its values from other files; copy them in"
                )
            if (
                dataset.chunks
                and np.prod(dataset.chunks, dtype=float) * dataset.dtype.itemsize > _LONGEST_CHUNK
            ):
                raise BadInputError(
                    f"{self.path}: {dataset.name} is stored in chunks of {dataset.chunks} values, which are decoded as "
                    "a whole; write it with AnnData.write_h5ad"
                )
        claimed = sum(float(one.size or 0) * max(one.dtype.itemsize, 8) for one in datasets)
        if name != self._counts and claimed > _MOST_BYTES:
            raise BadInputError(
                f"{self.path}: {name} claims {claimed / 1e9:.0f} GB; leave columns out that nobody needs, or split the "
                "file"
            )

    def _unreadable(self, name: str, error: Exception) -> BadInputError:
        said = " ".join(str(error).split())[:200]
        return BadInputError(
            f"{self.path}: has no {name} that can be read ({said}); write it with AnnData.write_h5ad"
        )

    def _frame(self, file: h5py.File, name: str) -> pd.DataFrame:
        try:
            frame = read_elem(file[name])
        except _UNREADABLE as error:
            raise self._unreadable(name, error) from error
        if not isinstance(frame, pd.DataFrame):
            raise self._unreadable(name, TypeError(f"it is a {type(frame).__name__}"))
        return frame

    def _open(self) -> h5py.File:
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise BadInputError(
                f"{self.path}: cannot be read as HDF5 ({error}); give AnnData's .h5ad"
            ) from error


def _datasets(file: h5py.File, name: str) -> Iterator[h5py.Dataset]:
    """Every dataset at or below a name; raises ValueError for a link that leads elsewhere, or in a circle."""
    waiting, seen = [name], set[int]()
    while waiting:
        path = waiting.pop()
        for end in range(1, path.count("/") + 2):
            above = "/".join(path.split("/")[:end])
            if not isinstance(file.get(above, getlink=True), h5py.HardLink):
                raise ValueError(f"{above} is a link to another place or file")
        found = file[path]
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            raise ValueError(f"{path} stands there twice")
        seen.add(address)
        if isinstance(found, h5py.Dataset):
            yield found
        else:
            waiting += [f"{path}/{child}" for child in found]


def _shares(counts: csr_array) -> tuple[csr_array, NDArray[np.bool_]]:
    """Counts per 10,000 of their cell (n, G), and which cells (n,) have any."""
    totals = counts.sum(1)
    scale = np.divide(COUNTS_PER_CELL, totals, out=np.zeros_like(totals), where=totals > 0)
    shares = counts.copy()
    shares.data = counts.data * np.repeat(scale, np.diff(counts.indptr))
    return shares, totals > 0


def _plain(column: pd.Series) -> pd.Series:
    """Categories as their values, which are of one type in every batch."""
    return column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column
