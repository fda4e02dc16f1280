"""What a container's process finds in its environment, resolved as a kubelet does."""

import base64
import re
from collections.abc import Mapping
from http import HTTPStatus

from kubernetes import client
from kubernetes.client.exceptions import ApiException

_REFERENCE = re.compile(r"\$(?:\$|\(([A-Za-z_.-][\w.-]*)\))")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class UnresolvedError(Exception):
    """A container cannot start yet: the text says which Secret, ConfigMap, key or field is not there."""


def container_environment(
    core: client.CoreV1Api, pod: client.V1Pod, container: client.V1Container
) -> dict[str, str]:
    """The variables of `envFrom` and then `env`; raises UnresolvedError."""
    found: dict[str, str] = {}
    for source in container.env_from or ():
        ref = source.config_map_ref or source.secret_ref
        read = _read_config_map if source.config_map_ref else _read_secret
        held = read(core, pod.metadata.namespace, ref.name, bool(ref.optional))
        found |= {f"{source.prefix or ''}{key}": value for key, value in (held or {}).items()}
    for variable in container.env or ():
        value = _value(core, pod, variable, found)
        if value is not None:
            found[variable.name] = value
    return found


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; `$$` is a dollar, and a name that is not there stays as it is."""

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else environment.get(name, match[0])

    return _REFERENCE.sub(replaced, text)


def _value(
    core: client.CoreV1Api, pod: client.V1Pod, variable: client.V1EnvVar, before: Mapping[str, str]
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value or "", before)
    if source.field_ref is not None:
        return _field(pod, source.field_ref.field_path)
    if source.secret_key_ref is not None:
        ref, read, kind = source.secret_key_ref, _read_secret, "secret"
    elif source.config_map_key_ref is not None:
        ref, read, kind = source.config_map_key_ref, _read_config_map, "configmap"
    else:
        raise UnresolvedError(f"variable {variable.name}: only fields, secrets and config maps are read here")
    held = read(core, pod.metadata.namespace, ref.name, bool(ref.optional))
    if held is not None and ref.key in held:
        return held[ref.key]
    if ref.optional:
        return None
    raise UnresolvedError(f"couldn't find key {ref.key} in {kind} {pod.metadata.namespace}/{ref.name}")


def _field(pod: client.V1Pod, path: str) -> str:
    if keyed := _KEYED.fullmatch(path):
        return str((getattr(pod.metadata, keyed[1]) or {}).get(keyed[2], ""))
    fields = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": "127.0.0.1",
        "status.podIP": "127.0.0.1",
    }
    if path not in fields:
        raise UnresolvedError(f"field {path} is not known here")
    return str(fields[path])


def _read_secret(core: client.CoreV1Api, namespace: str, name: str, optional: bool) -> dict[str, str] | None:
    try:
        data = core.read_namespaced_secret(name, namespace).data or {}
    except ApiException as error:
        _raise_unless_optional("secret", name, optional, error)
        return None
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def _read_config_map(
    core: client.CoreV1Api, namespace: str, name: str, optional: bool
) -> dict[str, str] | None:
    try:
        return dict(core.read_namespaced_config_map(name, namespace).data or {})
    except ApiException as error:
        _raise_unless_optional("configmap", name, optional, error)
        return None


def _raise_unless_optional(kind: str, name: str, optional: bool, error: ApiException) -> None:
    if error.status != HTTPStatus.NOT_FOUND:
        raise error
    if not optional:
        raise UnresolvedError(f'{kind} "{name}" not found') from error
