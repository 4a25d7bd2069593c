"""Puts a certificate and its key into the file that TensorFlow Serving's --ssl_config_file names.

    python3 make_ssl_config.py --certificate server.pem --key server.key --output ssl.config
    python3 make_ssl_config.py --certificate server.pem --key server.key --client_ca ca.pem --output ssl.config

The second lets in only clients with a certificate that the authority has signed. Needs Python alone. What it writes
holds the private key: only its owner may read it.
"""

import argparse
import os
import re
import sys


def ssl_config(certificate: str, key: str, client_ca: str | None = None) -> str:
    """An SSLConfig in protobuf's text format.

    Args:
        certificate: PEM text of the server's certificate and its chain.
        key: PEM text of its key, not encrypted.
        client_ca: PEM text of the authority that signs clients' certificates; none are asked for if not given.
    Raises:
        ValueError: a text is not what it should be.
    """
    fields = [_field("server_key", key, "PRIVATE KEY"), _field("server_cert", certificate, "CERTIFICATE")]
    if client_ca is not None:
        fields += [_field("custom_ca", client_ca, "CERTIFICATE"), "client_verify: true\n"]
    return "".join(fields)


def _field(name, text, kind):
    # What stands around the blocks, as openssl prints it, is left out.
    blocks = list(re.finditer(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", text, re.DOTALL))
    names = [block[1] for block in blocks]
    other = {"PRIVATE KEY": "CERTIFICATE", "CERTIFICATE": "PRIVATE KEY"}[kind]  # one file for both is for other servers
    if not any(found.endswith(kind) for found in names) or any(found.endswith(other) for found in names):
        raise ValueError(f"{name} must be a PEM text with {kind}, and no {other}. Received: "
                         f"{', '.join(names) or 'no PEM text'}.")
    if any("ENCRYPTED" in block[0] for block in blocks):
        raise ValueError(f"{name} is encrypted, and TensorFlow Serving has nowhere to ask for the passphrase. Decrypt "
                         "it first: openssl pkey -in FILE -out FILE.")
    lines = [line.strip() for block in blocks for line in block[0].splitlines()]
    return f"{name}:\n" + "".join(f'  "{line}\\n"\n' for line in lines)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificate", required=True, help="PEM file with the server's certificate and its chain")
    parser.add_argument("--key", required=True, help="PEM file with its key")
    parser.add_argument("--client_ca", help="PEM file of the authority that signs clients' certificates")
    parser.add_argument("--output", required=True, help="file to write; must not exist")
    values = parser.parse_args(arguments)
    try:
        texts = [_read(path) for path in (values.certificate, values.key, values.client_ca)]
        text = ssl_config(*texts)
        descriptor = os.open(values.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _read(path):
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    main()
