"""The certificates by which a sweep and a cluster with TLS know each other."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xbar.hardware.errors import XbarError

SETTINGS = {"ca": "ca-file", "cert": "client.cert", "key": "client.key"}
"""Keys below ``distributed.comm.tls`` of Dask's configuration that stand for options that are not given."""


@dataclass(frozen=True)
class Certificates:
    """PEM files; None: as Dask's configuration says.

    Parameters
    ----------
    ca
        Certificate of the authority: whoever has one that it signed may take part.
    cert, key
        The sweep's own certificate, and its key.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def check(self, address: str | None) -> None:
        """Refuse files that do not fit an address, and those that it needs and that cannot be used.

        Raises
        ------
        XbarError
            For a file with an address without TLS; for one that is missing, is no PEM, or does not fit the
            others, where the address has TLS.
        """
        if address is not None and address.startswith("tls://"):
            _check_usable(self._files(address))
            return
        given = next((name for name in SETTINGS if getattr(self, name) is not None), None)
        if given is not None:
            beside = "without --cluster" if address is None else f"with --cluster {address}"
            raise XbarError(f"--tls-{given}: has no effect {beside}; only with an address tls://HOST:PORT")

    def security(self, address: str) -> Any:
        """The argument that `distributed.Client` takes: nothing for an address without TLS."""
        if not address.startswith("tls://"):
            return None
        from distributed import Security

        files = {name: str(path) for name, path in self._files(address).items()}
        return Security(
            tls_ca_file=files["ca"],
            tls_client_cert=files["cert"],
            tls_client_key=files["key"],
            require_encryption=True,
        )

    def _files(self, address: str) -> dict[str, Path]:
        try:
            import dask
        except ImportError:
            raise needs_extra() from None
        found = {}
        for name, setting in SETTINGS.items():
            path = getattr(self, name) or dask.config.get(f"distributed.comm.tls.{setting}", None)
            if path is None:
                raise XbarError(
                    f"--cluster {address}: needs --tls-{name} FILE.pem, or distributed.comm.tls.{setting} in "
                    "Dask's configuration"
                )
            if not Path(path).is_file():
                raise XbarError(f"--cluster {address}: --tls-{name} {path}: no such file")
            found[name] = Path(path)
        return found


def needs_extra() -> XbarError:
    """Error for an installation without Dask."""
    return XbarError("--cluster: needs the extra `cluster`: pip install 'xbar-codesign[cluster]'")


def _check_usable(files: dict[str, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(files["ca"])
    except (OSError, ValueError) as error:
        raise XbarError(f"--tls-ca {files['ca']}: holds no certificate ({error})") from None
    try:
        context.load_cert_chain(files["cert"], files["key"], password="")
    except (OSError, ValueError) as error:
        both = f"--tls-cert {files['cert']}, --tls-key {files['key']}"
        raise XbarError(f"{both}: must be a certificate and its key, without a password ({error})") from None
