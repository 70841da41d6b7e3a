#!/usr/bin/env python3
"""A second strongroom decryptor, written from the pictures in src/crypto/mod.rs, src/kms/local.rs,
src/kms/local/keyfile.rs, src/kms/bound.rs, src/store/wrap.rs, the migrations and src/crypto/backup.rs, and from nothing else
of the Rust code.

    decrypt.py vectors [tests/vectors]     every vector has the verdict that it states
    decrypt.py data DIR [--keys DIR] [--passphrase-file FILE] [--identity FILE]
                                           every version in DIR/strongroom.db that is not destroyed opens, and is what its
                                           fingerprint says; of those that are, nothing is left.
                                           With an age identity, by that alone: no key is asked
    decrypt.py export FILE [the same options]
                                           the same of an export, whose digest and signature must be right

Prints fingerprints, never secrets. Exits 1 when anything is not as it should be.
Needs Python 3.11 and what requirements.txt lists.
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import pathlib
import sqlite3
import sys
import tomllib
import uuid
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

import kms

VERSIONS = """
    SELECT c.org, c.project, c.provider, c.name, c.id, v.version,
           coalesce(r.sealed_blob, v.sealed_blob), coalesce(r.seal, v.seal), v.fingerprint, v.digest, s.state
    FROM org_integration_credentials v JOIN credentials c ON c.id = v.credential_id
    JOIN org_integration_credential_states s ON s.credential_id = v.credential_id AND s.version = v.version
    LEFT JOIN resealed_blobs r ON r.credential_id = v.credential_id AND r.version = v.version AND r.state = 'live'
    ORDER BY c.org, c.project, c.provider, c.name, v.version
"""
WRAPS = """
    SELECT w.holder, k.key, k.key_version, w.bytes FROM wraps w JOIN wrapping_keys k ON k.id = w.key WHERE w.live = 1
"""
DROPPED = """
    SELECT 'wrap', bytes FROM wraps WHERE live = 0 UNION ALL
    SELECT 'blob', sealed_blob FROM resealed_blobs WHERE state = 'gone' UNION ALL
    SELECT 'blob', v.sealed_blob FROM org_integration_credentials v
        JOIN resealed_blobs r USING (credential_id, version) WHERE r.state = 'live' UNION ALL
    SELECT 'blob', r.sealed_blob FROM resealed_blobs r
        JOIN org_integration_credential_states s USING (credential_id, version) WHERE s.state = 'destroyed'
"""

ZERO_NONCE = bytes(12)
BODY_LENGTHS = {1: range(16, 1_048_592 + 1), 2: range(100, 1_398_200 + 1)}
SEALS = {1: "aes256gcm", 2: "fernet"}


class Refused(Exception):
    """Why something does not open: format, seal, length, commitment or altered."""


class Identity(NamedTuple):
    org: str
    project: str
    provider: str
    name: str
    credential: uuid.UUID
    version: int

    @classmethod
    def of(cls, case):
        return cls(**{**case, "credential": uuid.UUID(case["credential"])})


# --- the stored format ------------------------------------------------------------------------------------------


def open_blob(dek: bytes, identity: Identity, blob: bytes) -> bytes:
    if not blob:
        raise Refused("length")
    if blob[0] != 1:
        raise Refused("format")
    header, body = blob[:66], blob[66:]
    if len(header) < 66:
        raise Refused("length")
    seal, message_id, commitment = header[1], header[2:34], header[34:]
    if seal not in BODY_LENGTHS:
        raise Refused("seal")
    if len(body) not in BODY_LENGTHS[seal]:
        raise Refused("length")

    who = canonical(identity) + header[:2]
    if not hmac.compare_digest(hkdf(dek, message_id, b"strongroom/v1/commitment" + who), commitment):
        raise Refused("commitment")
    key = hkdf(dek, message_id, b"strongroom/v1/seal" + who)
    return open_gcm(key, header + who, body) if seal == 1 else open_fernet(key, body)


def canonical(identity: Identity) -> bytes:
    texts = b"".join(text(part) for part in identity[:4])
    return texts + identity.credential.bytes + u32(identity.version)


def open_gcm(key: bytes, aad: bytes, sealed: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(ZERO_NONCE, sealed, aad)
    except (InvalidTag, ValueError):
        raise Refused("altered") from None


def open_fernet(key: bytes, token: bytes) -> bytes:
    try:
        # Python skips letters that are not base64's; the format does not.
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)) != token:
            raise Refused("altered")
        return Fernet(base64.urlsafe_b64encode(key)).decrypt(token)
    except (InvalidToken, binascii.Error, ValueError):
        raise Refused("altered") from None


def unwrap(key: bytes, context: bytes, wrapped: bytes) -> bytes:
    salt, body = wrapped[:32], wrapped[32:]
    if len(body) < 16:
        raise Refused("length")
    return open_gcm(hkdf(key, salt, b"strongroom/v1/wrap" + context), salt + context, body)


def hkdf(key: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(key)


def text(value: str) -> bytes:
    return u32(len(value.encode())) + value.encode()


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


# --- the local KMS ----------------------------------------------------------------------------------------------


class KeyFile:
    def __init__(self, path: pathlib.Path, passphrase: str | None):
        file = tomllib.loads(path.read_text())
        if file["format"] != 1:
            raise Refused("format")
        under = None
        if asked := file.get("passphrase"):
            cost = {"iterations": asked["passes"], "lanes": asked["lanes"], "memory_cost": asked["memory_kib"]}
            under = Argon2id(salt=unhex(asked["salt"]), length=32, **cost).derive((passphrase or "").encode())
            if not checks(under, "passphrase", asked["check"]):
                sys.exit(f"{path}: the passphrase is wrong")
        self.keys = {str(entry["version"]): self.key(entry, under) for entry in file["keys"]}

    @staticmethod
    def key(entry, under):
        version, key = str(entry["version"]), unhex(entry["key"])
        key = unwrap(under, text("key") + text(version), key) if under else key
        if not checks(key, version, entry["check"]):
            raise Refused("altered")
        return key

    def unwrap(self, key_version: str, wrapped: bytes, context: list[tuple[str, str]]) -> bytes:
        if key_version not in self.keys or wrapped[:1] != b"\x01":
            raise Refused("format")
        encoded = b"".join(text(key) + text(value) for key, value in context)
        return unwrap(self.keys[key_version], encoded, wrapped[1:])


def checks(key: bytes, what: str, stored: str) -> bool:
    return hkdf(key, b"", b"strongroom/v1/local/check" + text(what), 16).hex() == stored


def context_of(identity: Identity) -> list[tuple[str, str]]:
    parts = zip(identity._fields, map(str, identity), strict=True)
    return [("purpose", "credential"), *parts]


def context_of_org_key(org: str) -> list[tuple[str, str]]:
    return [("purpose", "org_key"), ("org", org)]


# --- offline recipients, by somebody else's library -----------------------------------------------------------------


class Offline:
    def __init__(self, path: pathlib.Path):
        import pyrage

        lines = [line.strip() for line in path.read_text().splitlines()]
        (line,) = [line for line in lines if line and not line.startswith("#")]
        self.age, self.identity = pyrage, pyrage.x25519.Identity.from_str(line)
        self.uri = f"age:{self.identity.to_public()}"

    def unwrap(self, wrapped: bytes, context: list[tuple[str, str]]) -> bytes:
        try:
            inside = self.age.decrypt(wrapped, [self.identity])
        except self.age.DecryptError:
            raise Refused("altered") from None
        encoded = b"".join(text(key) + text(value) for key, value in context)
        if len(inside) != 65 or inside[0] != 1 or inside[33:] != hashlib.sha256(encoded).digest():
            raise Refused("altered")
        return inside[1:33]


# --- what is asked of it ----------------------------------------------------------------------------------------


def vectors(root: pathlib.Path) -> int:
    wrong = 0
    for path in sorted(root.rglob("*.json")):
        file = json.loads(path.read_text())
        if "base" in file:
            cases = [(case, blob_verdict({**file["base"], **case})) for case in [file["base"], *file["cases"]]]
        elif "key_file" in file:
            keys = KeyFile(path.with_name(file["key_file"]), file["passphrase"])
            cases = [(case, wrap_verdict(keys, case)) for case in file["cases"]]
        else:
            continue
        bad = [f"{case['name']}: {verdict}" for case, verdict in cases if verdict not in expected(case)]
        opened = sum(case["verdict"] == "opens" for case, _ in cases)
        print(f"{path.relative_to(root)}: {opened} open, {len(cases) - opened} are refused, {len(bad)} are wrong")
        print("".join(f"  {line}\n" for line in bad), end="")
        wrong += len(bad)
        if not opened:
            sys.exit(f"{path}: nothing opened")
    return wrong


def expected(case):
    """A case that does not say why it is refused may be for any reason."""
    if case["verdict"] == "opens":
        return ["opens"]
    return [case["why"]] if "why" in case else ["format", "seal", "length", "commitment", "altered"]


def blob_verdict(case) -> str:
    try:
        plaintext = open_blob(unhex(case["dek"]), Identity.of(case["identity"]), unhex(case["blob"]))
        return "opens" if plaintext == unhex(case["plaintext"]) else "opens to something else"
    except Refused as why:
        return str(why)


def wrap_verdict(keys: KeyFile, case) -> str:
    identity, org = case.get("identity"), case.get("org_key")
    context = context_of(Identity.of(identity)) if identity else context_of_org_key(org)
    try:
        dek = keys.unwrap(case["key_version"], unhex(case["wrapped"]), context)
        return "opens" if dek == unhex(case["dek"]) else "opens to something else"
    except Refused as why:
        return str(why)


class Kept(NamedTuple):
    """What a vault keeps: rows of WRAPS, DROPPED and VERSIONS."""

    wraps: list
    dropped: list
    versions: list


def of_database(root: pathlib.Path) -> Kept:
    database = sqlite3.connect(f"file:{root / 'strongroom.db'}?mode=ro", uri=True)
    return Kept(*(database.execute(query).fetchall() for query in (WRAPS, DROPPED, VERSIONS)))


def of_export(path: pathlib.Path) -> Kept:
    """Every line but the last is what the last one's digest covers, and an audit key in it has signed that."""
    *lines, last = path.read_bytes().splitlines(keepends=True)
    header, end = json.loads(lines[0]), json.loads(last)
    if header["type"] != "vault" or header["format"] != 1 or end["type"] != "end":
        sys.exit(f"{path}: no whole export")
    tables: dict[str, list[dict]] = {}
    for line in map(json.loads, lines[1:]):
        if isinstance(line, dict):
            columns, rows = line["columns"], tables.setdefault(line["name"], [])
        else:
            rows.append(dict(zip(columns, line, strict=True)))
    digest = base64.b64encode(hashlib.sha256(b"".join(lines)).digest()).decode()
    if digest != end["sha256"] or {name: len(rows) for name, rows in tables.items()} != end["rows"]:
        sys.exit(f"{path}: altered")
    instance, (name, _, key) = header["instance"], end["key"].split("+", 2)
    public = base64.b64decode(key)
    own = [base64.b64decode(row["public"]) for row in tables["audit_keys"] if row["instance"] == instance]
    if name != f"strongroom/{instance}" or public[:1] != b"\x01" or public[1:] not in own:
        sys.exit(f"{path}: signed by a key that is not in it")
    said = f"strongroom export 1\n{instance}\nsha256 {digest}\n".encode()
    try:
        Ed25519PublicKey.from_public_bytes(public[1:]).verify(base64.b64decode(end["signature"]), said)
    except InvalidSignature:
        sys.exit(f"{path}: the signature is wrong")
    print(f"{path.name}: signed by {end['key']}")

    raw = base64.b64decode
    wraps = [(raw(row["holder"]), row["key"], row["key_version"], raw(row["bytes"])) for row in tables["wraps"]]
    paths = {row["id"]: [row[part] for part in ("org", "project", "provider", "name")] for row in tables["credentials"]}
    states = {(row["credential_id"], row["version"]): row["state"] for row in tables["org_integration_credential_states"]}
    versions = []
    for row in tables["org_integration_credentials"]:
        credential, version = row["credential_id"], row["version"]
        sealed = (raw(row["sealed_blob"]), row["seal"], row["fingerprint"], raw(row["digest"]))
        versions.append((*paths[credential], raw(credential), version, *sealed, states[credential, version]))
    return Kept(wraps, [], sorted(versions, key=lambda row: row[:6]))


def data(kept: Kept, keys: pathlib.Path, passphrase: str | None, offline: Offline | None) -> int:
    opened: dict[str, KeyFile] = {}

    wraps: dict[bytes, list] = {}
    for holder, *wrap in kept.wraps:
        if (wrap[0] == offline.uri) if offline else not wrap[0].startswith("age:"):
            wraps.setdefault(holder, []).append(wrap)

    def unwrap_stored(holder, context):
        """Every wrap of a holder must open to the same key."""
        deks = {unwrap_one(*wrap, context) for wrap in wraps.get(holder, [])}
        if len(deks) != 1:
            raise Refused("altered")
        return deks.pop()

    def unwrap_one(uri, key_version, wrapped, context):
        if offline:
            return offline.unwrap(wrapped, context)
        scheme, _, name = uri.partition("://")
        if scheme != "local":
            dek = kms.unwrap(uri, key_version, wrapped, context)
            if dek is None:
                raise Refused("altered")
            return dek
        if uri not in opened:
            opened[uri] = KeyFile(keys / f"{name}.key", passphrase)
        return opened[uri].unwrap(key_version, wrapped, context)

    org_keys = {}
    for holder in wraps:
        if holder[:1] == b"o":
            org = holder[1:].decode()
            org_keys[org] = unwrap_stored(holder, context_of_org_key(org))

    left = [what for what, dropped in kept.dropped if any(dropped)]
    print("".join(f"a dropped {what} is STILL THERE\n" for what in left), end="")
    wrong = len(left)
    for *who, version, blob, seal, fingerprint, digest, state in kept.versions:
        holder = b"v" + who[4] + u32(version)
        identity = Identity(*who[:4], uuid.UUID(bytes=who[4]), version)
        label = f"{'/'.join(identity[:4])} {identity.credential} version {version} ({seal})"
        if state == "destroyed":
            left = any(blob) or holder in wraps
            print(f"{label}: {'STILL THERE, though it should be destroyed' if left else 'destroyed'}")
            wrong += left
            continue
        try:
            if SEALS.get(blob[1]) != seal:
                raise Refused("seal")
            dek = unwrap_stored(holder, context_of(identity))
            plaintext = open_blob(dek, identity, blob)
        except Refused as why:
            print(f"{label}: refused: {why}")
            wrong += 1
            continue
        shown = fingerprint_of(plaintext, org_keys.get(identity.org), keyed=fingerprint.startswith("k:"))
        same = shown == fingerprint
        if identity.org in org_keys:
            same &= mac(org_keys[identity.org], b"strongroom/v1/digest\0", plaintext) == digest
        print(f"{label}: {shown}{'' if same else f', but stored is {fingerprint} or another digest'}")
        wrong += not same
    return wrong


def fingerprint_of(plaintext: bytes, org_key: bytes | None, keyed: bool) -> str:
    if not keyed:
        return hashlib.sha256(plaintext).hexdigest()[:8]
    return "k:" + mac(org_key, b"strongroom/v1/fingerprint\0", plaintext).hex()[:8] if org_key else "no org key"


def mac(key: bytes, label: bytes, secret: bytes) -> bytes:
    return hmac.digest(key, label + secret, "sha256")


def unhex(value: str) -> bytes:
    return bytes.fromhex(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    of_vectors = commands.add_parser("vectors")
    default = pathlib.Path(__file__).resolve().parent.parent / "vectors"
    of_vectors.add_argument("dir", type=pathlib.Path, nargs="?", default=default)
    of_data = commands.add_parser("data")
    of_data.add_argument("place", metavar="DIR", type=pathlib.Path)
    of_file = commands.add_parser("export")
    of_file.add_argument("place", metavar="FILE", type=pathlib.Path)
    for command in (of_data, of_file):
        command.add_argument("--keys", type=pathlib.Path, help="where the key files are, if not beside the data")
        command.add_argument("--passphrase-file", type=pathlib.Path)
        command.add_argument("--identity", type=pathlib.Path, help="an age identity, as age-keygen writes it")
    asked = parser.parse_args()
    if asked.command == "vectors":
        wrong = vectors(asked.dir)
    else:
        file = asked.passphrase_file
        passphrase = file.read_text().removesuffix("\n") if file else None
        offline = Offline(asked.identity) if asked.identity else None
        is_export = asked.command == "export"
        kept = of_export(asked.place) if is_export else of_database(asked.place)
        keys = asked.keys or (asked.place.parent if is_export else asked.place)
        wrong = data(kept, keys, passphrase, offline)
    print("all as it should be" if not wrong else f"{wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
