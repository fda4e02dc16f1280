"""Signatures: whose they are is said as it is, and no key goes by another's name."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.hazmat.primitives.serialization import load_pem_private_key as load

from cell_assets.audit.attestation import PrivateKey, SignatureState, check_signature, read_public_key
from cell_assets.errors import BadInputError
from cell_assets_tests.audit.bundles import key_pair

STATEMENT = b'{"said": 1}'


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_signature_is_trusted_with_its_key_and_unknown_without(tmp_path: Path, kind: str) -> None:
    secret, public = key_pair(tmp_path, kind)
    key = PrivateKey.read(secret)
    envelope = key.sign(STATEMENT)
    trusted = read_public_key(public)
    assert trusted == key.public
    assert check_signature(STATEMENT, key.public, envelope, trusted)[0] is SignatureState.TRUSTED
    state, why = check_signature(STATEMENT, key.public, envelope, None)
    assert state is SignatureState.UNKNOWN_KEY
    assert "proves consistency, not origin" in why
    said = json.loads(envelope)
    assert base64.b64decode(said["payload"]) == STATEMENT
    assert said["payloadType"] == "application/vnd.in-toto+json"
    hidden = secret.read_bytes().splitlines()[1]
    assert hidden not in envelope
    assert hidden.decode() not in repr(vars(key)) + repr(key) + why


def test_other_keys_other_statements_and_missing_envelopes_are_wrong(tmp_path: Path) -> None:
    key, other = (PrivateKey.read(key_pair(tmp_path / name)[0]) for name in ("a", "b"))
    envelope = key.sign(STATEMENT)
    cases = {
        "not with the key given": (STATEMENT, key.public, envelope, other.public),
        "does not hold this statement": (b"{}", key.public, envelope, key.public),
        "the envelope is gone": (STATEMENT, key.public, None, None),
        "vouches for nothing": (STATEMENT, None, None, key.public),
        "which the statement does not name": (STATEMENT, other.public, envelope, None),
        "is no envelope": (STATEMENT, key.public, b"[]", key.public),
    }
    for said, case in cases.items():
        state, why = check_signature(*case)
        assert (state, said in why) == (SignatureState.WRONG, True), why
    assert check_signature(STATEMENT, None, None, None) == (
        SignatureState.NOT_SIGNED,
        "proves consistency, not origin",
    )


def test_no_key_goes_by_anothers_id(tmp_path: Path) -> None:
    """A forger signs with a key of their own and writes the lab's key id beside it."""
    lab, forger = (PrivateKey.read(key_pair(tmp_path / name)[0]) for name in ("a", "b"))
    posing = forger.public.model_copy(update={"keyid": lab.public.keyid})
    envelope = forger.sign(STATEMENT).replace(forger.public.keyid.encode(), lab.public.keyid.encode())
    state, why = check_signature(STATEMENT, posing, envelope, None)
    assert (state, "the key that the bundle names is not" in why) == (SignatureState.WRONG, True)
    state, why = check_signature(STATEMENT, posing, envelope, lab.public)
    assert (state, "does not fit" in why) == (SignatureState.WRONG, True)


@pytest.mark.parametrize("keytype", ["ed25519", "rsa", "ecdsa", "sigstore-oidc", ""])
@pytest.mark.parametrize("public", ["", "zz", "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"])
def test_malformed_keys_are_wrong_and_raise_nothing(tmp_path: Path, keytype: str, public: str) -> None:
    from cell_assets.audit.attestation import _keyid

    key = PrivateKey.read(key_pair(tmp_path)[0])
    bad = key.public.model_copy(update={"keytype": keytype, "public": public})
    bad = bad.model_copy(update={"keyid": _keyid(bad)})
    envelope = key.sign(STATEMENT).replace(key.public.keyid.encode(), bad.keyid.encode())
    assert check_signature(STATEMENT, bad, envelope, None)[0] is SignatureState.WRONG


def test_every_flipped_byte_of_an_envelope_is_wrong(tmp_path: Path) -> None:
    key = PrivateKey.read(key_pair(tmp_path)[0])
    envelope = key.sign(STATEMENT)
    for at in range(len(envelope)):
        flipped = bytearray(envelope)
        flipped[at] ^= 1
        state, _ = check_signature(STATEMENT, key.public, bytes(flipped), key.public)
        assert state is SignatureState.WRONG, at


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key_is_said_in_a_sentence_that_does_not_quote_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="holds no private key that can sign") as error:
        PrivateKey.read(path)
    assert "AAAA" not in str(error.value)
    with pytest.raises(BadInputError, match="holds no public key"):
        read_public_key(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        PrivateKey.read(tmp_path / "nothing.pem")


def test_encrypted_and_exchanged_keys_are_refused(tmp_path: Path) -> None:
    secret, public = key_pair(tmp_path)
    with pytest.raises(BadInputError, match="holds no private key"):
        PrivateKey.read(public)
    with pytest.raises(BadInputError, match="holds no public key"):
        read_public_key(secret)
    locked = load(secret.read_bytes(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    secret.write_bytes(locked)
    with pytest.raises(BadInputError, match="give an unencrypted PEM file"):
        PrivateKey.read(secret)


@pytest.mark.parametrize("bits", [1024, 2047])
def test_short_rsa_keys_neither_sign_nor_vouch(tmp_path: Path, bits: int) -> None:
    secret, public = key_pair(tmp_path, "rsa", bits)
    said = rf"^--key .* holds an RSA key of {bits} bits, .* at least 2048 bits, or an Ed25519 key$"
    with pytest.raises(BadInputError, match=said):
        PrivateKey.read(secret)
    with pytest.raises(BadInputError, match=said):
        read_public_key(public)
