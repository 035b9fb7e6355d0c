"""One worker process, so that the weights are in memory once, with threads for the requests."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import socket
import sys
from contextlib import suppress

from gunicorn.arbiter import Arbiter

from d3site.garbage_collection import shorten_pauses
from d3site.private_files import PRIVATE_UMASK, make_private
from d3site.settings import DATA_DIR, MAX_WAITING_REQUESTS, TRUSTED_PROXIES, env

HOST = env.str("LISTEN_HOST", "127.0.0.1")
PORT = env.int("PORT", default=8000)
M_ARENA_MAX = -8  # of mallopt(3)
MAX_DESCRIPTORS = 65_536


def _raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open files to the hard one, for the worker to inherit.
    Return the limit, MAX_DESCRIPTORS at most.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


os.umask(PRIVATE_UMASK)
wsgi_app = "d3site.wsgi:application"
bind = f"{HOST}:{PORT}"
worker_class = "d3site.gunicorn_worker.DeadlineWorker"
workers = 1
# One for each admitted request with images, and some for the other requests.
threads = MAX_WAITING_REQUESTS + 16
# The other half of the open files is for records, files, uploads and the model.
worker_connections = min(1000, _raise_descriptor_limit() // 2)
timeout = 120  # seconds, for loading a large tower from a slow disk
graceful_timeout = 120  # seconds, for finishing accepted requests and batches
keepalive = 5
limit_request_line = 8190  # a search in any script, percent-encoded
forwarder_headers = ""  # the service has no other prefix; SCRIPT_NAME would hide its paths
control_socket_disable = True


def on_starting(server) -> None:
    """Exit at once when the port is in use; gunicorn itself would retry for five seconds. Remove
    the rights of other users to the stored files.
    """
    family = socket.AF_INET6 if ":" in HOST else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, PORT))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            sys.exit(f"Port {PORT} is in use by another program; choose one with PORT=<number>.")
    for path in make_private(DATA_DIR):
        server.log.warning("%s belongs to another user, so its rights cannot be changed.", path)


def post_fork(server, worker) -> None:
    """Use one heap for all threads. glibc would make several, each as large as its largest picture,
    and would return the memory of each inference to the system and request it again. Most other C
    libraries have no ``mallopt``.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def post_worker_init(worker) -> None:
    """Check the configuration, limit the connections of each address, and load the detector.

    There is no limit where all clients have one address, that of a proxy or of this computer. The
    detector is loaded after the fork, since PyTorch's threads would not survive it.
    """
    from django.conf import settings
    from django.core.checks import run_checks

    from detection.d3.errors import D3Error
    from detection.errors import DatabaseUnavailableError, MissingTablesError
    from detection.judging import get_detector
    from detection.queue import resume_batches
    from detection.records import check_tables

    worker.trusted_proxies = TRUSTED_PROXIES
    if not (TRUSTED_PROXIES or _is_loopback(HOST)):
        worker.max_per_address = threads // 2
    problems = [problem.msg for problem in run_checks() if problem.is_serious()]
    try:
        check_tables()
    except MissingTablesError as error:
        problems.append(str(error))
    except DatabaseUnavailableError as error:  # the database may be back soon
        worker.log.warning("%s", error)
    if problems:
        _stop_service(worker, problems)
    try:
        info = get_detector().info
    except D3Error as error:
        _stop_service(worker, [str(error)])
    worker.log.info("%s on %s answers at http://%s", info.name, info.device, bind)
    if settings.API_ACCESS == "open" and not _is_loopback(HOST):
        worker.log.warning("Anyone who can reach this address may use the API; see API_ACCESS.")
    resume_batches()
    shorten_pauses()


def worker_exit(server, worker) -> None:
    from detection.judging import finish_scoring
    from detection.queue import finish_batches

    # Ctrl-C reaches every process of the terminal, and the master sends it once more.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    finish_batches()
    finish_scoring()


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _stop_service(worker, problems: list[str]) -> None:
    """Log the problems and end the master too: another worker would fail as well."""
    for problem in problems:
        worker.log.error("%s", problem)
    sys.exit(Arbiter.APP_LOAD_ERROR)
