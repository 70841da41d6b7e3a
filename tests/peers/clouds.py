#!/usr/bin/env python3
"""Plays five clouds on 127.0.0.1 over TLS, and judges every signature that reaches them with libraries that are not ours:
AWS by moto's IAM and by botocore, Google, Azure and Snowflake by PyJWT, Oracle by `cryptography` from the draft's text.

    clouds.py DIRECTORY

Makes every key anew, writes `DIRECTORY/vault.toml` for the daemon and `DIRECTORY/uploads/PROVIDER.NAME.STATE.json`, each
with the state that it must come to, and serves until it is ended. A line in `DIRECTORY/judged` for everything it accepts.
Each judge must refuse a request that it accepted as soon as one thing in it is altered.
"""

import base64
import datetime
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import ssl
import sys
import time
import urllib.parse
import uuid

# Moto checks signatures from the fourth call on: the first ones make the user whose key it then knows.
os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "5"

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session
import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from moto.server import ThreadedMotoServer

STS, BEDROCK = "sts.us-east-1.amazonaws.com", "bedrock.us-east-1.amazonaws.com"
GOOGLE = ["www.googleapis.com", "oauth2.googleapis.com", "cloudresourcemanager.googleapis.com"]
AZURE = ["login.microsoftonline.com", "management.azure.com"]
ORACLE = "identity.eu-frankfurt-1.oci.oraclecloud.com"
SNOWFLAKE = {"ACMEORG-PROD": "acmeorg-prod.snowflakecomputing.com",
             "xy12345.eu-central-1": "xy12345.eu-central-1.snowflakecomputing.com"}
HOSTS = [STS, BEDROCK, *GOOGLE, *AZURE, ORACLE, *SNOWFLAKE.values()]
LONGEST_LIFE = 600
CLOCK_SKEW = 60
PASSPHRASE = "four words of ours"


class Refused(Exception):
    """What the cloud answers: a status and a body."""

    def __init__(self, status, body, headers=()):
        super().__init__(status, body)
        self.answer = (status, body, dict(headers))


class Request:
    def __init__(self, method, host, path, headers, body):
        self.method, self.host, self.path, self.headers, self.body = method, host, path, headers, body

    def altered(self, **changes):
        return Request(**{**vars(self), **changes})

    def form(self):
        pairs = urllib.parse.parse_qsl(self.body.decode(), strict_parsing=True)
        assert len(dict(pairs)) == len(pairs), "a form names something twice"
        return dict(pairs)


# Keys and what is uploaded of them.

def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key, form=serialization.PrivateFormat.PKCS8, passphrase=None):
    lock = serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, lock).decode()


def spki(key):
    public = key.public_key()
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def certificate(key, name, issuer=None, issuer_key=None, hosts=()):
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=90))
            .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True))
    if hosts:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    return made.sign(issuer_key or key, hashes.SHA256())


def cert_pem(made):
    return made.public_bytes(serialization.Encoding.PEM).decode()


# What the judges share.

def fresh(claims, now=None):
    """Issued now, and for no longer than any of these clouds takes."""
    now = now or time.time()
    assert abs(claims["iat"] - now) < CLOCK_SKEW, claims
    assert 0 < claims["exp"] - claims["iat"] <= LONGEST_LIFE, claims


def tampered(token):
    """The same token with one claim altered, under the old signature."""
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["exp"] += 1
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return ".".join([head, body, signature])


class Aws:
    """STS as moto plays it, which checks signatures itself; Bedrock is judged by botocore alone."""

    def __init__(self):
        self.moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.moto.start()
        self.address = self.moto.get_host_and_port()
        self.known = {}
        session = botocore.session.get_session()
        session.set_credentials("AKIAANYBODY", "anything")
        client = lambda service: session.create_client(
            service, region_name="us-east-1", endpoint_url="http://%s:%d" % self.address)
        iam, sts = client("iam"), client("sts")
        iam.create_user(UserName="reader")
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(everything))
        role = iam.create_role(RoleName="job", AssumeRolePolicyDocument=json.dumps(everything))["Role"]
        lent = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="job")["Credentials"]
        self.long = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
        self.short = {"access_key_id": lent["AccessKeyId"], "secret_access_key": lent["SecretAccessKey"],
                      "session_token": lent["SessionToken"]}
        for keys in (self.long, self.short):
            self.known[keys["access_key_id"]] = keys

    def uploads(self):
        wrong = {**self.long, "secret_access_key": self.long["secret_access_key"][::-1]}
        moved = {**self.short, "session_token": self.short["session_token"][::-1]}
        yield "aws_keys", "long", "active", self.long
        yield "aws_keys", "temporary", "active", self.short
        yield "aws_keys", "wrong-secret", "invalid", wrong
        yield "aws_keys", "wrong-session", "invalid", moved
        region = {"region": "us-east-1"}
        yield "aws_bedrock", "long", "active", {**self.long, **region}
        yield "aws_bedrock", "temporary", "active", {**self.short, **region}
        yield "aws_bedrock", "wrong-secret", "invalid", {**wrong, **region}

    def answer(self, request):
        self.botocore_agrees(request)
        try:
            self.botocore_agrees(request.altered(body=request.body + b"&a=b"))
        except Refused:
            pass
        else:
            raise AssertionError("botocore accepted another body under the same signature")
        if request.host == BEDROCK:
            return 200, {"modelSummaries": []}, {}
        status, body, headers = self.moto_says(request)
        if status == 200:
            assert self.moto_says(request.altered(body=request.body + b"&a=b"))[0] == 403, "moto accepted another body"
        return status, body, headers

    def botocore_agrees(self, request):
        said = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=(\w+)/(\d{8})/us-east-1/(\w+)/aws4_request, SignedHeaders=([\w;-]+), "
            r"Signature=([0-9a-f]{64})", request.headers["authorization"])
        assert said, "the authorization has another shape"
        key_id, _, service, names, signature = said.groups()
        assert service == request.host.split(".")[0], service
        assert {"host", "x-amz-date"} <= set(names.split(";")), names
        date = datetime.datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        assert abs(date.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time()) < CLOCK_SKEW
        keys = self.known.get(key_id)
        if not keys:
            raise self.refusal(request, "InvalidClientTokenId", "UnrecognizedClientException")
        token = keys.get("session_token")
        assert ("x-amz-security-token" in names.split(";")) == bool(token), "a session token is signed"
        signed = {name: request.headers[name] for name in names.split(";")}
        again = botocore.awsrequest.AWSRequest(
            request.method, f"https://{request.host}{request.path}", signed, request.body)
        again.context["timestamp"] = request.headers["x-amz-date"]
        credentials = botocore.credentials.Credentials(keys["access_key_id"], keys["secret_access_key"])
        judge = botocore.auth.SigV4Auth(credentials, service, "us-east-1")
        expected = judge.signature(judge.string_to_sign(again, judge.canonical_request(again)), again)
        if expected != signature or token != request.headers.get("x-amz-security-token"):
            raise self.refusal(request, "SignatureDoesNotMatch", "InvalidSignatureException")

    def refusal(self, request, sts, bedrock):
        if request.host == BEDROCK:
            return Refused(403, {"message": "no"}, {"x-amzn-errortype": bedrock})
        return Refused(403, f"<ErrorResponse><Error><Type>Sender</Type><Code>{sts}</Code><Message>no</Message></Error>"
                            "</ErrorResponse>")

    def moto_says(self, request):
        connection = http.client.HTTPConnection(*self.address)
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**request.headers, "content-length": str(len(request.body))}.items():
            connection.putheader(name, value)
        connection.endheaders(request.body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {}


class Google:
    def __init__(self):
        self.key = rsa_key()
        self.kid = uuid.uuid4().hex + "01234567"
        self.email = "reader@acme-analytics.iam.gserviceaccount.com"
        self.tokens = set()

    def uploads(self):
        for name, key, state in (("right", self.key, "active"), ("wrong-key", rsa_key(), "invalid")):
            yield "gcp_service_account", name, state, {
                "type": "service_account", "project_id": "acme-analytics", "private_key_id": self.kid,
                "private_key": pem(key), "client_email": self.email, "client_id": "104857600000000000001",
                "token_uri": "https://oauth2.googleapis.com/token",
            }

    def answer(self, request):
        if request.host == "www.googleapis.com":
            assert urllib.parse.unquote(request.path) == f"/robot/v1/metadata/x509/{self.email}", request.path
            return 200, {self.kid: cert_pem(certificate(self.key, "a service account"))}, {}
        if request.host == "cloudresourcemanager.googleapis.com":
            assert request.path == "/v1/projects/acme-analytics:testIamPermissions", request.path
            assert request.headers["authorization"].removeprefix("Bearer ") in self.tokens
            return 200, json.loads(request.body), {}
        assert request.path == "/token", request.path
        form = request.form()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer", form["grant_type"]
        self.judge(form["assertion"])
        try:
            self.judge(tampered(form["assertion"]))
        except Refused:
            pass
        else:
            raise AssertionError("an altered assertion was accepted")
        token = uuid.uuid4().hex
        self.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}, {}

    def judge(self, assertion):
        header = jwt.get_unverified_header(assertion)
        assert header == {"alg": "RS256", "typ": "JWT", "kid": self.kid}, header
        try:
            claims = jwt.decode(assertion, self.key.public_key(), ["RS256"], audience="https://oauth2.googleapis.com/token")
        except jwt.InvalidSignatureError:
            raise Refused(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}) from None
        assert set(claims) == {"iss", "scope", "aud", "iat", "exp"} and claims["iss"] == self.email, claims
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform", claims
        fresh(claims)


class Azure:
    def __init__(self):
        self.key, self.tenant, self.client = rsa_key(), str(uuid.uuid4()), str(uuid.uuid4())
        self.certificate = certificate(self.key, "an application")
        self.seen = set()

    def uploads(self):
        other = rsa_key()
        about = {"tenant_id": self.tenant, "client_id": self.client}
        for name, state, key, made in (("right", "active", self.key, self.certificate),
                                       ("wrong-key", "invalid", other, certificate(other, "an application"))):
            yield "azure_service_principal", name, state, {
                **about, "certificate": cert_pem(made), "private_key": pem(key)}

    def answer(self, request):
        audience = f"https://login.microsoftonline.com/{self.tenant}/oauth2/v2.0/token"
        assert f"https://{request.host}{request.path}" == audience, request.path
        form = request.form()
        assert form["grant_type"] == "client_credentials" and form["client_id"] == self.client
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        self.judge(form["client_assertion"], audience)
        try:
            self.judge(tampered(form["client_assertion"]), audience, is_again=True)
        except Refused:
            pass
        else:
            raise AssertionError("an altered assertion was accepted")
        return 200, {"access_token": uuid.uuid4().hex, "expires_in": 3599, "token_type": "Bearer"}, {}

    def judge(self, assertion, audience, is_again=False):
        header = jwt.get_unverified_header(assertion)
        thumbprint = base64.urlsafe_b64encode(self.certificate.fingerprint(hashes.SHA256())).decode().rstrip("=")
        assert set(header) == {"alg", "typ", "x5t#S256"} and header["alg"] == "PS256", header
        refusal = Refused(401, {"error": "invalid_client", "error_description": "AADSTS700027: …", "error_codes": [700027]})
        if header["x5t#S256"] != thumbprint:
            raise refusal
        try:
            claims = jwt.decode(assertion, self.certificate.public_key(), ["PS256"], audience=audience)
        except jwt.InvalidSignatureError:
            raise refusal from None
        assert claims["iss"] == claims["sub"] == self.client, claims
        assert claims["nbf"] <= time.time() and (is_again or claims["jti"] not in self.seen), claims
        self.seen.add(claims["jti"])
        fresh(claims)


class Oracle:
    """From the text of draft-cavage-http-signatures-08 and Oracle's page on request signatures."""

    def __init__(self):
        self.keys = {}

    def uploads(self):
        ocid = lambda kind: f"ocid1.{kind}.oc1..{(uuid.uuid4().hex * 2)[:60]}"
        locked = {"pass_phrase": PASSPHRASE}
        for name, state, dress, more in (
            ("right", "active", {}, {}),
            ("pkcs1", "active", {"form": serialization.PrivateFormat.TraditionalOpenSSL}, {}),
            ("locked", "active", {"passphrase": PASSPHRASE}, locked),
            ("wrong-key", "invalid", {}, {}),
        ):
            key = rsa_key()
            digest = hashlib.md5(spki(key)).hexdigest()
            about = {"tenancy": ocid("tenancy"), "user": ocid("user"),
                     "fingerprint": ":".join(re.findall("..", digest)), "region": "eu-frankfurt-1"}
            owner = f"{about['tenancy']}/{about['user']}/{about['fingerprint']}"
            self.keys[owner] = key if state == "active" else rsa_key()
            yield "oci_api_key", name, state, {**about, "private_key": pem(key, **dress) + "OCI_API_KEY\n", **more}

    def answer(self, request):
        self.judge(request)
        try:
            self.judge(request.altered(path=request.path + "?a=b"))
        except Refused:
            pass
        else:
            raise AssertionError("another path was accepted under the same signature")
        return 200, [], {}

    def judge(self, request):
        scheme, _, rest = request.headers["authorization"].partition(" ")
        said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        assert scheme == "Signature" and said["version"] == "1" and said["algorithm"] == "rsa-sha256", said
        assert request.method == "GET" and said["headers"] == "(request-target) date host", said
        assert request.headers["host"] == request.host
        date = datetime.datetime.strptime(request.headers["date"], "%a, %d %b %Y %H:%M:%S GMT")
        assert abs(date.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time()) < CLOCK_SKEW
        target = f"{request.method.lower()} {request.path}"
        value = lambda name: target if name == "(request-target)" else request.headers[name]
        lines = "\n".join(f"{name}: {value(name)}" for name in said["headers"].split(" "))
        try:
            self.keys[said["keyId"]].public_key().verify(
                base64.b64decode(said["signature"], validate=True), lines.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise Refused(401, {"code": "NotAuthenticated", "message": "The required information was incorrect."}) from None


class Snowflake:
    def __init__(self):
        self.key = rsa_key()

    def uploads(self):
        for account in SNOWFLAKE:
            name = account.split(".")[0].lower()
            yield "snowflake", name, "active", {"account": account, "user": "etl_reader", "private_key": pem(self.key)}
        about = {"account": "ACMEORG-PROD", "user": "etl_reader"}
        yield "snowflake", "locked", "active", {
            **about, "private_key": pem(self.key, passphrase=PASSPHRASE), "pass_phrase": PASSPHRASE}
        yield "snowflake", "wrong-key", "invalid", {**about, "private_key": pem(rsa_key())}

    def answer(self, request):
        assert (request.method, request.path) == ("POST", "/api/v2/statements"), request.path
        assert request.headers["x-snowflake-authorization-token-type"] == "KEYPAIR_JWT"
        scheme, _, token = request.headers["authorization"].partition(" ")
        assert scheme == "Bearer"
        account = request.host.split(".")[0].upper()
        self.judge(token, account)
        try:
            self.judge(tampered(token), account)
        except Refused:
            pass
        else:
            raise AssertionError("an altered token was accepted")
        return 200, {"data": [[account, "ETL_READER", "PUBLIC"]]}, {}

    def judge(self, token, account):
        refusal = Refused(401, {"code": "390144", "message": "JWT token is invalid."})
        try:
            claims = jwt.decode(token, self.key.public_key(), ["RS256"])
        except jwt.InvalidSignatureError:
            raise refusal from None
        fingerprint = base64.b64encode(hashlib.sha256(spki(self.key)).digest()).decode()
        assert claims["sub"] == f"{account}.ETL_READER", claims
        assert claims["iss"] == f"{claims['sub']}.SHA256:{fingerprint}", claims
        fresh(claims)


def main(home):
    aws, google, azure, oracle, snowflake = clouds = Aws(), Google(), Azure(), Oracle(), Snowflake()
    by_host = {STS: aws, BEDROCK: aws, ORACLE: oracle, **dict.fromkeys(GOOGLE, google), **dict.fromkeys(AZURE, azure),
               **dict.fromkeys(SNOWFLAKE.values(), snowflake)}
    (home / "uploads").mkdir(parents=True)
    for cloud in clouds:
        for provider, name, state, upload in cloud.uploads():
            (home / "uploads" / f"{provider}.{name}.{state}.json").write_text(json.dumps(upload))

    ca_key, key = rsa_key(), rsa_key()
    ca = certificate(ca_key, "the authority of a test")
    (home / "ca.pem").write_text(cert_pem(ca))
    (home / "server.pem").write_text(cert_pem(certificate(key, "clouds", ca, ca_key, HOSTS)) + pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "server.pem")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            assert len(headers) == len(self.headers), "a header is sent twice"
            body = self.rfile.read(int(headers.get("content-length", "0")))
            request = Request(self.command, headers["host"], self.path, headers, body)
            verdict = "good"
            try:
                status, answer, more = by_host[request.host.lower()].answer(request)
            except Refused as refused:
                status, answer, more = refused.answer
                verdict = "refused"
            except Exception as flaw:
                status, answer, more, verdict = 500, {}, {}, f"FLAW {flaw!r}"
            with open(home / "judged", "a") as judged:
                print(f"{verdict}: {request.method} {request.host.lower()}{request.path.split('?')[0]}", file=judged)
            data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            for name, value in {**more, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = serve

        def log_message(self, *_):
            pass

    # The handshake belongs to the connection's own thread.
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    port = server.server_address[1]
    places = ", ".join(f'"{host}=127.0.0.1:{port}"' for host in HOSTS)
    made = home / "vault.toml.new"
    # Whatever is not played here ends at a port that nobody listens on.
    made.write_text(f'[outbound]\nauthorities = "{home}/ca.pem"\nproxy = "http://127.0.0.1:1"\nprivate_hosts = [{places}]\n')
    made.rename(home / "vault.toml")
    server.serve_forever()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).absolute())
