#!/usr/bin/env python3
"""Key services that are not ours, for kms.sh: makes a key in them, changes it, and opens what strongroom has wrapped, by
clients that are not ours either. `decrypt.py data` opens every stored wrap by `unwrap` below.

    kms.py certificates DIR HOST...         an authority and a certificate for these
    kms.py aws|transit|azure WHAT DIR       prepare, rotate, deny, allow

PEER_URL says where the service is, PEER_CA whose certificate it shows. What `prepare` prints is for the daemon's
environment; it keeps what it needs itself in DIR/admin.json.
"""

import base64
import datetime
import hashlib
import json
import os
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

REGION = "eu-central-1"
KEY = "strongroom"
API = "api-version=7.4"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def ask(method, path, body=None, headers=(), url=None, form=False):
    """The answer's JSON. An error's is raised."""
    url = (url or os.environ["PEER_URL"]) + path
    data = None if body is None else (urllib.parse.urlencode(body) if form else json.dumps(body)).encode()
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    request = urllib.request.Request(url, data, {"content-type": kind, **dict(headers)}, method=method)
    context = ssl.create_default_context(cafile=os.environ["PEER_CA"])
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


def wait(path, url=None):
    """Until somebody answers there, whatever it is."""
    for _ in range(600):
        try:
            return ask("GET", path, url=url)
        except urllib.error.HTTPError:
            return None
        except (urllib.error.URLError, OSError, ValueError) as error:
            if isinstance(error, ValueError):
                return None
            time.sleep(0.05)
    sys.exit("the key service does not get ready")


def keep(directory, **what):
    path = pathlib.Path(directory, "admin.json")
    path.touch(mode=0o600)
    path.write_text(json.dumps(what))


def kept(directory):
    return json.loads(pathlib.Path(directory, "admin.json").read_text())


def exports(**variables):
    print("".join(f"export {name}={value!r}\n" for name, value in variables.items()), end="")


# --- AWS: moto, and botocore as the other client -----------------------------------------------------------------


def aws_client(service, admin):
    import botocore.session

    session = botocore.session.get_session()
    return session.create_client(service, region_name=REGION, endpoint_url=os.environ["PEER_URL"],
                                 verify=os.environ["PEER_CA"], aws_access_key_id=admin["id"],
                                 aws_secret_access_key=admin["secret"])


def aws_permit(iam, name, actions):
    allow = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)


def aws_prepare(directory):
    """Moto asks for a signature from the seventh call on: the first ones make the users whose keys it then knows."""
    wait("/moto-api/data.json")
    first = {"id": "first", "secret": "first"}
    iam = aws_client("iam", first)
    people = {}
    for name, actions in [("admin", ["*"]), ("strongroom", ["kms:Encrypt", "kms:Decrypt"])]:
        iam.create_user(UserName=name)
        aws_permit(iam, name, actions)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        people[name] = {"id": made["AccessKeyId"], "secret": made["SecretAccessKey"]}
    arn = aws_client("kms", people["admin"]).create_key()["KeyMetadata"]["Arn"]
    keep(directory, **people["admin"], arn=arn)
    exports(KMS_URI=f"aws-kms://{arn}", AWS_ACCESS_KEY_ID=people["strongroom"]["id"],
            AWS_SECRET_ACCESS_KEY=people["strongroom"]["secret"])


def aws_rotate(directory):
    admin = kept(directory)
    aws_client("kms", admin).rotate_key_on_demand(KeyId=admin["arn"])


def aws_deny(directory):
    aws_client("iam", kept(directory)).delete_user_policy(UserName="strongroom", PolicyName="p")


def aws_allow(directory):
    aws_permit(aws_client("iam", kept(directory)), "strongroom", ["kms:Encrypt", "kms:Decrypt"])


def aws_unwrap(uri, _version, wrapped, context):
    from botocore.exceptions import ClientError

    kms = aws_client("kms", kept(os.environ["PEER_HOME"]))
    arn = uri.removeprefix("aws-kms://")
    try:
        answer = kms.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=dict(context))
        return answer["Plaintext"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "InvalidCiphertextException":
            return None
        raise


# --- OpenBao -----------------------------------------------------------------------------------------------------


def transit(method, path, body=None, token=None):
    token = token or kept(os.environ["PEER_HOME"])["token"]
    return ask(method, f"/v1/{path}", body, {"x-vault-token": token})


def transit_prepare(directory):
    wait("/v1/sys/seal-status")
    begun = ask("PUT", "/v1/sys/init", {"secret_shares": 1, "secret_threshold": 1})
    ask("PUT", "/v1/sys/unseal", {"key": begun["keys"][0]})
    token = begun["root_token"]
    keep(directory, token=token)
    for _ in range(200):
        try:
            transit("POST", "sys/mounts/team/transit", {"type": "transit"}, token)
            break
        except urllib.error.HTTPError:
            time.sleep(0.05)
    transit("POST", f"team/transit/keys/{KEY}", {"type": "aes256-gcm96"}, token)
    transit_allow(directory)
    made = transit("POST", "auth/token/create", {"policies": ["strongroom"], "no_parent": True}, token)
    server = f"bao.example.com:{urllib.parse.urlparse(os.environ['PEER_URL']).port}"
    exports(KMS_URI=f"transit://{server}/team/transit/{KEY}", BAO_ADDR=f"https://{server}",
            BAO_TOKEN=made["auth"]["client_token"])


def transit_policy(text):
    transit("PUT", "sys/policies/acl/strongroom", {"policy": text})


def transit_rotate(_directory):
    transit("POST", f"team/transit/keys/{KEY}/rotate", {})


def transit_deny(_directory):
    transit_policy('path "none" { capabilities = ["read"] }')


def transit_allow(_directory):
    transit_policy("".join(f'path "team/transit/{operation}/{KEY}" {{ capabilities = ["update"] }}\n'
                           for operation in ["encrypt", "decrypt"]))


def transit_unwrap(_uri, version, wrapped, context):
    if not wrapped.startswith(f"vault:v{version}:".encode()):
        return None
    body = {"ciphertext": wrapped.decode(), "associated_data": b64(canonical(context))}
    try:
        return base64.b64decode(transit("POST", f"team/transit/decrypt/{KEY}", body)["data"]["plaintext"])
    except urllib.error.HTTPError as error:
        if error.code == 400 and b"message authentication failed" in error.read():
            return None
        raise


# --- Azure: an Entra ID and a Key Vault that are not ours ----------------------------------------------------------

TENANT = "6f89cf12-978b-4d23-ac18-9ef0c127cf87"
CLIENT = "00d88624-f0d7-46f6-a641-6232c2608928"
SECRET = "daemon-app-secret"


def azure(method, path, body=None):
    form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET,
            "scope": "https://vault.azure.net/.default"}
    answer = ask("POST", f"/{TENANT}/oauth2/v2.0/token", form, url=os.environ["PEER_ENTRA"], form=True)
    headers = {"authorization": f"Bearer {answer['access_token']}", "host": "contoso.vault.azure.net"}
    return ask(method, f"/keys/{KEY}{path}?{API}", body, headers)


def azure_prepare(directory):
    wait("/health", os.environ["PEER_ENTRA"])
    wait("/health")
    azure("POST", "/create", {"kty": "RSA", "key_size": 2048})
    keep(directory)
    exports(KMS_URI=f"azure-kv://contoso/{KEY}", AZURE_TENANT_ID=TENANT, AZURE_CLIENT_ID=CLIENT,
            AZURE_CLIENT_SECRET=SECRET)


def azure_rotate(_directory):
    azure("POST", "/create", {"kty": "RSA", "key_size": 2048})


def azure_enabled(enabled):
    version = azure("GET", "/versions")["value"]
    for known in version:
        azure("PATCH", "/" + known["kid"].rsplit("/", 1)[1], {"attributes": {"enabled": enabled}})


def azure_deny(_directory):
    azure_enabled(False)


def azure_allow(_directory):
    azure_enabled(True)


def azure_unwrap(_uri, version, wrapped, context):
    value = base64.urlsafe_b64encode(wrapped).rstrip(b"=").decode()
    inside = azure("POST", f"/{version}/unwrapkey", {"alg": "RSA-OAEP-256", "value": value})["value"]
    inside = base64.urlsafe_b64decode(inside + "==")
    bound = hashlib.sha256(canonical(context)).digest()
    return inside[1:33] if inside[:1] == b"\x01" and len(inside) == 65 and inside[33:] == bound else None


# --- what they share -----------------------------------------------------------------------------------------------


def canonical(context) -> bytes:
    texts = [part.encode() for pair in context for part in pair]
    return b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def unwrap(uri, version, wrapped, context):
    """The data key. None when it does not open. What opens must not open under another context."""
    opens = {"aws-kms": aws_unwrap, "transit": transit_unwrap, "azure-kv": azure_unwrap}[uri.partition("://")[0]]
    other = [*context[:-1], (context[-1][0], context[-1][1] + "x")]
    if opens(uri, version, wrapped, other) is not None:
        sys.exit(f"{uri}: it opens under another context")
    return opens(uri, version, wrapped, context)


def certificates(directory, *hosts):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    import ipaddress

    now = datetime.datetime.now(datetime.timezone.utc)
    named = lambda name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    authority = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(host) for host in hosts] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]

    def made(subject, public, *extensions):
        builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named("peers"))
        builder = builder.public_key(public).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    usage = x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
                          key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    whose = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    home = pathlib.Path(directory)
    home.joinpath("ca.pem").write_bytes(
        made("peers", authority.public_key(), (x509.BasicConstraints(True, None), True), (usage, True), (whose, False)))
    home.joinpath("cert.pem").write_bytes(
        made(hosts[0], key.public_key(), (x509.SubjectAlternativeName(names), False), (signed_by, False)))
    plain = serialization.NoEncryption()
    home.joinpath("key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    if kind == "certificates":
        certificates(*rest)
    else:
        what, home = rest
        globals()[f"{kind}_{what}"](home)
