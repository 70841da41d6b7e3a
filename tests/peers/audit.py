#!/usr/bin/env python3
"""Proves an export of the audit log, written from the descriptions in src/crypto/ledger: Ed25519 by `cryptography`, the
tree by the definition in RFC 6962. Prints what it found; ends with 1 when something does not fit.

  audit.py EXPORT VERIFIER-KEY-FILE
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root(leaves):
    """MTH of RFC 6962, section 2.1."""
    if not leaves:
        return sha()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\x01", root(leaves[:k]), root(leaves[k:]))


def included(index, size, leaf, proof, expected):
    """Section 2.1.1, read from the root down: which sibling stands on which side."""
    sides = []
    begin, end = 0, size
    while end - begin > 1:
        k = 1
        while k * 2 < end - begin:
            k *= 2
        left = index < begin + k
        sides.append(left)
        begin, end = (begin, begin + k) if left else (begin + k, end)
    if len(sides) != len(proof):
        return False
    for left, sibling in zip(reversed(sides), proof):
        leaf = sha(b"\x01", leaf, sibling) if left else sha(b"\x01", sibling, leaf)
    return leaf == expected


def opened(note, key):
    """C2SP signed-note and tlog-checkpoint."""
    name, digest, public = key.strip().split("+", 2)
    public = base64.b64decode(public)
    assert public[0] == 1 and hashlib.sha256(name.encode() + b"\n" + public).hexdigest()[:8] == digest
    text, signatures = note.split("\n\n", 1)
    text += "\n"
    for line in signatures.splitlines():
        dash, who, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if dash == "\u2014" and who == name and signature[:4].hex() == digest:
            Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature[4:], text.encode())
            origin, size, tree, head, _time = text.splitlines()
            assert origin == name and head.startswith("head ")
            return int(size), base64.b64decode(tree), base64.b64decode(head[5:])
    raise InvalidSignature


def main(export, keys):
    key = open(keys, encoding="utf-8").read()
    lines = [json.loads(line) for line in open(export, encoding="utf-8")]
    header, end = lines[0], lines[-1]
    assert header["type"] == "header" and header["pruned"] == 0 and end["type"] == "end"
    records = [line for line in lines if line["type"] == "record"]
    signed = [opened(line["note"], key) for line in lines if line["type"] == "checkpoint"]
    assert len(records) == end["records"] and signed
    leaves = [sha(b"\x00", record["canonical"].encode()) for record in records]
    if header["part"]:
        [(size, tree, _head)] = signed
        for record, leaf in zip(records, leaves):
            place = json.loads(record["canonical"])["sequence"] - 1
            proof = [base64.b64decode(sibling) for sibling in record["proof"]]
            assert included(place, size, leaf, proof, tree), f"record {place + 1} is not in the log"
        print(f"{len(records)} records are in the log of {size}")
        return
    before = bytes(32)
    heads = [before]
    for number, record in enumerate(records, 1):
        assert json.loads(record["canonical"])["sequence"] == number
        before = sha(b"strongroom audit v1\n", before, record["canonical"].encode())
        assert before == base64.b64decode(record["hash"]), f"record {number} was edited"
        heads.append(before)
    for size, tree, head in signed:
        assert root(leaves[:size]) == tree and heads[size] == head, f"the checkpoint of {size} does not fit"
    assert signed[-1][0] == len(records), "not all of it is signed"
    print(f"{len(records)} records, {len(signed)} checkpoints")


if __name__ == "__main__":
    main(*sys.argv[1:])
