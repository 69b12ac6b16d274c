"""An S3-compatible bucket on loopback (moto) behind TLS of a CA made here, with faults on order. Never leaves this machine.

bucket.py FOLDER PORT [NAME]: writes FOLDER/ca.pem and FOLDER/credentials, makes the bucket NAME (default `backups`) with object lock, a day
by default, logs one JSON line a request to FOLDER/log, and obeys FOLDER/faults.json: [{"method", "path", "do", "times"}], where `do` is a
status, `drop`, `hang`, `short` or `stale`.
"""
import base64
import datetime
import hashlib
import io
import ipaddress
import json
import os
import sys
import threading
import time

import boto3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

folder, port = sys.argv[1], int(sys.argv[2])
bucket = sys.argv[3] if len(sys.argv) > 3 else "backups"
path = lambda name: os.path.join(folder, name)


def certificate():
    now = datetime.datetime.now(datetime.timezone.utc)
    span = (now - datetime.timedelta(days=1), now + datetime.timedelta(days=30))
    name = lambda text: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def made(subject, public, extensions):
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("bucket test CA")).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(span[0]).not_valid_after(span[1])
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(ca_key, hashes.SHA256())

    ca = made("bucket test CA", ca_key.public_key(), [(x509.BasicConstraints(True, None), True)])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = made("bucket", key.public_key(), [(names, False), (x509.BasicConstraints(False, None), True)])
    pem = serialization.Encoding.PEM
    open(path("ca.pem"), "wb").write(ca.public_bytes(pem))
    open(path("server.pem"), "wb").write(leaf.public_bytes(pem))
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    open(path("server.key"), "wb").write(plain)


class Faults:
    """Counts down what faults.json orders; a file that is written anew begins anew."""

    def __init__(self):
        self.seen, self.left, self.lock = None, [], threading.Lock()

    def take(self, method, target):
        with self.lock:
            try:
                text = open(path("faults.json")).read()
            except FileNotFoundError:
                return None
            if text != self.seen:
                self.seen, self.left = text, json.loads(text or "[]")
            for fault in self.left:
                if fault["times"] > 0 and fault["method"] == method and fault.get("path", "") in target:
                    fault["times"] -= 1
                    return fault["do"]
        return None


class Faulty:
    def __init__(self, inner):
        self.inner, self.faults, self.stale = inner, Faults(), {}

    def __call__(self, environ, start):
        method = environ["REQUEST_METHOD"]
        target = environ["PATH_INFO"] + ("?" + environ["QUERY_STRING"] if environ.get("QUERY_STRING") else "")
        fault = self.faults.take(method, target)
        with open(path("log"), "a") as log:
            # The query of a signed address is a credential for as long as it lives.
            log.write(json.dumps({"method": method, "path": environ["PATH_INFO"], "fault": fault}) + "\n")
        if isinstance(fault, int):
            start(f"{fault} X", [("content-type", "application/xml")])
            return [b"<Error><Code>Ordered</Code><Message>a fault on order</Message></Error>"]
        if fault == "hang":
            time.sleep(120)
        if fault == "drop":
            # Half of what comes is read, and the connection is gone.
            length = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"].read(length // 2)
            environ["werkzeug.socket"].close()
            raise ConnectionError("dropped on order")
        if fault == "short":
            return self.short(environ, start)
        if fault == "stale":
            return self.old_list(start)
        if not self.checked(environ):
            start("400 Bad Request", [("content-type", "application/xml")])
            return [b"<Error><Code>BadDigest</Code><Message>the SHA-256 does not match what was received</Message></Error>"]
        return self.inner(environ, start)

    def checked(self, environ):
        """As S3 does, and moto does not: the checksum is compared, and is as good as a Content-MD5 for an object with a lock."""
        said = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        if environ["REQUEST_METHOD"] != "PUT" or said is None:
            return True
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = "SHA256"
        return base64.b64encode(hashlib.sha256(body).digest()).decode() == said

    def short(self, environ, start):
        """The first half of an object under the length of all of it, and no more."""
        held = {}
        body = b"".join(self.inner(environ, lambda status, headers, exc=None: held.update(status=status, headers=headers)))
        start(held["status"], held["headers"])
        yield body[: len(body) // 2]
        environ["werkzeug.socket"].close()

    def old_list(self, start):
        start("200 OK", [("content-type", "application/xml")])
        return [
            b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>backups</Name>'
            b"<Prefix></Prefix><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
        ]


def prepare():
    client = boto3.client(
        "s3",
        endpoint_url=f"https://127.0.0.1:{port}",
        verify=path("ca.pem"),
        aws_access_key_id="LBTESTKEY",
        aws_secret_access_key="lbtestsecret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
    client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=rule)
    descriptor = os.open(path("credentials"), os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(descriptor, b"[default]\naws_access_key_id = LBTESTKEY\naws_secret_access_key = lbtestsecret\n")
    os.close(descriptor)
    open(path("ready"), "w").close()


certificate()
application = Faulty(DomainDispatcherApplication(create_backend_app))
tls = (path("server.pem"), path("server.key"))
server = make_server("127.0.0.1", port, application, threaded=True, ssl_context=tls)
threading.Thread(target=prepare, daemon=True).start()
server.serve_forever()
