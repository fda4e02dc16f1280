"""The signature over a bundle's statement: keys, and the DSSE envelope that holds both.

Only public keys and signatures are written or shown; a private key is read to sign and then forgotten.
"""

import hashlib
import json
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SecuresystemsError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey

from cell_assets.audit.statement import Signer
from cell_assets.errors import BadInputError

ENVELOPE = "statement.dsse.json"

_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_LARGEST_KEY_BYTES = 2**16
_LEAST_RSA_BITS = 2048
"""NIST SP 800-131A Rev. 2 allows no shorter ones for signing."""


class PrivateKey:
    """A key to sign with; shows itself to nobody."""

    def __init__(self, signer: CryptoSigner) -> None:
        self._signer = signer

    @classmethod
    def read(cls, path: Path) -> "PrivateKey":
        """Read an unencrypted PEM file with an Ed25519, ECDSA or RSA key; raises BadInputError otherwise.

        RSA keys below 2048 bits are refused.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(_key_file(path), None)
            _refuse_short(key, path)
            return cls(CryptoSigner(key))
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # The library's own words may quote the file.
            raise BadInputError(
                f"--key {path} holds no private key that can sign: give an unencrypted PEM file with an "
                "Ed25519, ECDSA (P-256, P-384, P-521) or RSA key"
            ) from None

    @property
    def public(self) -> Signer:
        """What others verify with."""
        return _stated(self._signer.public_key)

    def sign(self, statement: bytes) -> bytes:
        """The statement in an envelope with its signature."""
        envelope = Envelope(statement, _PAYLOAD_TYPE, {})
        envelope.sign(self._signer)
        return _envelope_text(envelope)


def read_public_key(path: Path) -> Signer:
    """Read a PEM file with a public key; raises BadInputError otherwise, and for RSA keys below 2048 bits."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_key_file(path))
        _refuse_short(key, path)
        return _stated(SSlibKey.from_crypto(key))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadInputError(
            f"--key {path} holds no public key: give a PEM file with an Ed25519, ECDSA or RSA public key"
        ) from None


def _refuse_short(key: object, path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    if isinstance(key, RSAPrivateKey | RSAPublicKey) and key.key_size < _LEAST_RSA_BITS:
        raise BadInputError(
            f"--key {path} holds an RSA key of {key.key_size} bits, too short to be trusted: use one of at least "
            f"{_LEAST_RSA_BITS} bits, or an Ed25519 key"
        )


def _key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(_LARGEST_KEY_BYTES)
    except OSError as error:
        raise BadInputError(f"--key {path} cannot be read: {error.strerror}") from error


def _stated(key: SSlibKey) -> Signer:
    return Signer(keyid=key.keyid, keytype=key.keytype, scheme=key.scheme, public=key.keyval["public"])


def _keyid(key: Signer) -> str:
    """The id of a key by its content, so that no key can go by another's id."""
    said = {"keytype": key.keytype, "scheme": key.scheme, "keyval": {"public": key.public}}
    return hashlib.sha256(str(encode_canonical(said)).encode()).hexdigest()


def _envelope_text(envelope: Envelope) -> bytes:
    return (json.dumps(envelope.to_dict(), indent=1, sort_keys=True) + "\n").encode()


# Verifying.


class SignatureState(StrEnum):
    """What a bundle's signature says."""

    TRUSTED = "trusted"
    """It was made with the key that the verifier was given."""
    UNKNOWN_KEY = "unknown key"
    """It fits the key that the bundle names, which nothing vouches for."""
    WRONG = "wrong"
    """There is none where there should be one, or it does not fit."""
    NOT_SIGNED = "not signed"


class _SignatureText(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    keyid: str
    sig: str


class _EnvelopeText(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    payload: str
    payloadType: str  # noqa: N815, the field's name in the format
    signatures: tuple[_SignatureText]


def check_signature(
    content: bytes, named: Signer | None, envelope: bytes | None, trusted: Signer | None
) -> tuple[SignatureState, str]:
    """Hold the envelope against the statement's bytes.

    Args:
        content: the statement as it lies in the bundle.
        named: the key that the statement itself names.
        trusted: the key that the verifier was given.

    Returns:
        What the signature says, and a sentence about it.
    """
    if envelope is None:
        if named is not None:
            return (
                SignatureState.WRONG,
                f"the statement names key {named.keyid[:12]}, but the envelope is gone",
            )
        if trusted is not None:
            return SignatureState.WRONG, "the bundle is not signed, so the key given vouches for nothing"
        return SignatureState.NOT_SIGNED, "proves consistency, not origin"
    try:
        said = _EnvelopeText.model_validate_json(envelope)
        signed = Envelope.from_dict(said.model_dump())
        same = signed.payload == content and signed.payload_type == _PAYLOAD_TYPE
        same = same and _envelope_text(signed) == envelope
        (signature,) = signed.signatures.values()
    except (SecuresystemsError, ValueError, TypeError, KeyError):
        return SignatureState.WRONG, f"{ENVELOPE} is no envelope"
    if not same:
        return SignatureState.WRONG, f"{ENVELOPE} does not hold this statement"
    if trusted is not None and signature.keyid != trusted.keyid:
        return SignatureState.WRONG, (
            f"signed with unknown key {signature.keyid[:12]}, not with the key given, {trusted.keyid[:12]}"
        )
    key = trusted or named
    if key is None or key.keyid != signature.keyid:
        return (
            SignatureState.WRONG,
            f"signed with key {signature.keyid[:12]}, which the statement does not name",
        )
    try:
        if key.keyid != _keyid(key):
            return SignatureState.WRONG, f"the key that the bundle names is not {key.keyid[:12]}"
        public = SSlibKey(key.keyid, key.keytype, key.scheme, {"public": key.public})
        public.verify_signature(signature, signed.pae())
    except (SecuresystemsError, ValueError, TypeError):
        return SignatureState.WRONG, f"the signature does not fit key {key.keyid[:12]}"
    if trusted is not None:
        return SignatureState.TRUSTED, f"signed with the key given, {key.keyid[:12]}"
    return SignatureState.UNKNOWN_KEY, (
        f"signed with unknown key {key.keyid[:12]}, which only the bundle itself names: proves consistency, "
        "not origin; give the signer's public key with --key"
    )
