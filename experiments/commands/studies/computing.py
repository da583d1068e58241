"""Arguments that `xbar sweep` and `xbar search` share: the data, the folder, and what computes the points."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.sweeps.certificates import Certificates
from xbar.hardware.errors import XbarError

if TYPE_CHECKING:
    from experiments.sweeps.pools import Pool


@dataclass(frozen=True, kw_only=True)
class ComputesPoints:
    """A command that computes points: on processes of this machine, or on the workers of a cluster."""

    data: Path | None = None
    """Folder with the data set."""
    out: Path | None = None
    """Folder of the points; by default runs/NAME."""
    workers: int = 1
    """Processes on this machine, with one thread each unless the study says otherwise.
    A search keeps no more of them busy than its `batch`."""
    cluster: str | None = None
    """Use Dask instead: local:N workers, or a scheduler's address such as tcp://host:8786 or tls://host:8786."""
    tls_ca: Path | None = None
    """With tls://: certificate of the authority (PEM); by default distributed.comm.tls of Dask says it."""
    tls_cert: Path | None = None
    """With tls://: certificate of this command (PEM)."""
    tls_key: Path | None = None
    """With tls://: the key of that certificate (PEM)."""

    def check_places(self) -> None:
        """Refuse a missing folder of data, workers that cannot be, and certificates that do not fit.

        Raises
        ------
        XbarError
            With the option, and what is allowed.
        """
        if self.workers < 1:
            raise XbarError(f"--workers {self.workers}: must be at least 1")
        if self.cluster is not None and self.workers > 1:
            raise XbarError("--workers: has no effect with --cluster, which has its own")
        self._certificates.check(self.cluster)
        if self.data is not None and not self.data.is_dir():
            raise XbarError(f"--data {self.data}: no such folder")

    @contextmanager
    def pool(self, out: Path) -> Iterator[Pool]:
        """Processes of this machine, or, where an address is given, the workers of a cluster."""
        from experiments.sweeps.pools import in_this_process, on_workers

        if self.cluster is not None:
            from experiments.sweeps.cluster import on_cluster

            with on_cluster(self.cluster, out, self._certificates) as (pool, told):
                print(told, flush=True)
                yield pool
        else:
            yield on_workers(self.workers) if self.workers > 1 else in_this_process

    @property
    def _certificates(self) -> Certificates:
        return Certificates(self.tls_ca, self.tls_cert, self.tls_key)
