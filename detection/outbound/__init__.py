"""Requests to URLs that clients chose. They cannot be turned against this machine's own network."""

from detection.outbound.addresses import UnreachableError, UrlError
from detection.outbound.connection import CertificateError, NoAnswerError, check_url, exchange
