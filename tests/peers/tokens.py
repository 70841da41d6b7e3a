#!/usr/bin/env python3
"""Makes JSON Web Tokens with PyJWT, right ones and wrong ones.

    tokens.py DIRECTORY ISSUER

Writes `DIRECTORY/keys.json`, the public keys as PyJWT writes them, and one token a file: `accept.NAME` and
`refuse.NAME`. PyJWT must agree: it takes the right ones and refuses the wrong ones, by the same rules.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "strongroom"
directory, issuer = pathlib.Path(sys.argv[1]), sys.argv[2]

RSA = rsa.generate_private_key(public_exponent=65537, key_size=3072)
P256 = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS = {"rsa": (RSA, RSAAlgorithm), "p256": (P256, ECAlgorithm), "p384": (P384, ECAlgorithm), "ed": (ED, OKPAlgorithm)}
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]


def claims(**changes):
    now = int(time.time())
    said = {"iss": issuer, "aud": AUDIENCE, "sub": "py", "iat": now, "nbf": now, "exp": now + 300, "team": "blue"}
    return {name: value for name, value in {**said, **changes}.items() if value is not None}


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write(verdict, name, token):
    kid = jwt.get_unverified_header(token).get("kid", "rsa")
    key = KEYS[kid if kid in KEYS else "rsa"][0].public_key()
    try:
        options = {"require": ["exp", "aud", "iss", "sub"]}
        jwt.decode(token, key, ALGORITHMS, audience=AUDIENCE, issuer=issuer, leeway=30, options=options)
        taken = True
    except jwt.InvalidTokenError:
        taken = False
    assert taken == (verdict == "accept"), f"PyJWT would not {verdict} {name}"
    (directory / f"{verdict}.{name}").write_text(token)


def key_of(algorithm):
    return {"ES256": "p256", "ES384": "p384", "EdDSA": "ed"}.get(algorithm, "rsa")


def signed(algorithm="RS256", **changes):
    kid = key_of(algorithm)
    return jwt.encode(claims(**changes), KEYS[kid][0], algorithm, headers={"kid": kid})


public = []
for kid, (key, algorithm) in KEYS.items():
    public.append({**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid})
(directory / "keys.json").write_text(json.dumps({"keys": public}))

now = int(time.time())
for algorithm in ALGORITHMS:
    write("accept", algorithm, signed(algorithm))
write("accept", "several-audiences", signed(aud=["elsewhere", AUDIENCE]))
write("accept", "clock-skew", signed(exp=now - 5, iat=now - 60))

write("refuse", "no-exp", signed(exp=None))
write("refuse", "expired", signed(exp=now - 60, iat=now - 120))
write("refuse", "not-yet", signed(nbf=now + 120))
write("refuse", "no-aud", signed(aud=None))
write("refuse", "other-aud", signed(aud="elsewhere"))
write("refuse", "empty-aud", signed(aud=[]))
write("refuse", "other-iss", signed(iss=issuer + "/"))
write("refuse", "no-sub", signed(sub=None))
write("refuse", "none", jwt.encode(claims(), None, "none", headers={"kid": "rsa"}))
write("refuse", "other-key", jwt.encode(claims(), rsa.generate_private_key(65537, 2048), "RS256", headers={"kid": "rsa"}))
head, body, signature = signed().split(".")
write("refuse", "altered", ".".join([head, encoded(json.dumps(claims(sub="admin")).encode()), signature]))
# PyJWT will not sign with a public key; whoever attacks will.
pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
text = encoded(b'{"alg":"HS256","typ":"JWT","kid":"rsa"}') + "." + body
write("refuse", "public-key-as-secret", text + "." + encoded(hmac.new(pem, text.encode(), hashlib.sha256).digest()))
