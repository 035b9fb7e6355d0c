"""The storage: a folder or an S3 store. Clients read files through links that expire."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.urls import reverse
from django.utils.deconstruct import deconstructible
from storages.backends.s3 import S3Storage

from detection.errors import ServiceError


class LinkError(ServiceError):
    """The link gives no access."""

    code = "link_invalid"


class LinkExpiredError(LinkError):
    code = "link_expired"


@deconstructible(path="detection.files.storage.SignedFileSystemStorage")
class SignedFileSystemStorage(FileSystemStorage):
    """A private folder; ``url`` returns a link of this service for RESULT_URL_EXPIRY seconds."""

    def __init__(self, location=None) -> None:
        super().__init__(
            location=location,
            allow_overwrite=True,  # keys are unique: an existing file is from an earlier try
            file_permissions_mode=0o600,
            directory_permissions_mode=0o700,
        )

    def url(self, name: str) -> str:
        signature = _signer().sign(name).removeprefix(f"{name}:")
        return f"{reverse('stored-file', args=[name])}?{urlencode({'signature': signature})}"


def verify_link(*, name: str, signature: str) -> None:
    """Check the signature and the age of a link to a file. Raises LinkError."""
    try:
        signed = _signer().unsign(f"{name}:{signature}", max_age=settings.RESULT_URL_EXPIRY)
    except SignatureExpired as error:
        raise LinkExpiredError(
            "This link has expired; ask for the prediction again to get a new one."
        ) from error
    except BadSignature:
        signed = None
    if signed != name:
        raise LinkError("This link was not made by this server, or it was changed.")


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="detection.storage")


# One request for each upload: parts of an unfinished one would stay in the store, in no listing.
ONE_PUT = TransferConfig(use_threads=False, multipart_threshold=2**30)
BUCKET_EXISTS = ("BucketAlreadyOwnedByYou", "BucketAlreadyExists")
S3_CONFIG = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},  # other stores than AWS seldom have a host name per bucket
    # If the store is lost, clients get an answer within seconds.
    connect_timeout=3,
    read_timeout=10,
    retries={"total_max_attempts": 2, "mode": "standard"},
    max_pool_connections=128,  # more than the threads that store at a time
    # Other stores than AWS do not know the checksums that boto3 adds by default.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


class PresignedS3Storage(S3Storage):
    """Private objects in one bucket of an S3-compatible store. A missing bucket is created.

    ``endpoint`` and ``public_endpoint`` are ``host:port`` or URLs; links are signed for the public
    one, the address that clients can reach.
    """

    def __init__(
        self, *, endpoint: str, public_endpoint: str = "", secure: bool = True, **options: Any
    ) -> None:
        self._public_url = _url(public_endpoint or endpoint, secure=secure)
        super().__init__(
            endpoint_url=_url(endpoint, secure=secure),
            client_config=S3_CONFIG,
            file_overwrite=True,  # keys are unique, so no upload needs a look-up before
            transfer_config=ONE_PUT,
            **options,
        )

    def url(self, name: str, *arguments: Any, **options: Any) -> str:
        """Return a link for RESULT_URL_EXPIRY seconds, signed without a request to the store."""
        return self._signer.generate_presigned_url(
            "get_object",
            Params={"Bucket": self.bucket_name, "Key": name},
            ExpiresIn=settings.RESULT_URL_EXPIRY,
        )

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        try:
            return super().listdir(name)
        except ClientError as error:
            if not _is_missing_bucket(error):
                raise
            return [], []

    def _save(self, name: str, content: Any) -> str:
        try:
            return super()._save(name, content)
        except ClientError as error:
            if not _is_missing_bucket(error):
                raise
        self._create_bucket()
        content.seek(0)
        return super()._save(name, content)

    def _create_bucket(self) -> None:
        client = self.connection.meta.client
        region = client.meta.region_name
        elsewhere = region not in (None, "us-east-1", "aws-global")
        options = {"CreateBucketConfiguration": {"LocationConstraint": region}} if elsewhere else {}
        try:
            client.create_bucket(Bucket=self.bucket_name, **options)
        except ClientError as error:
            if error.response["Error"]["Code"] not in BUCKET_EXISTS:  # another process was faster
                raise

    @cached_property
    def connection(self) -> Any:
        """Return one connection for all threads: a new one takes tens of milliseconds, and opens
        sockets of its own.
        """
        return self._session.resource("s3", **self._client_options(self.endpoint_url))

    @cached_property
    def _signer(self) -> Any:
        return self._session.client("s3", **self._client_options(self._public_url))

    @cached_property
    def _session(self) -> Any:
        return self._create_session()

    def _client_options(self, url: str) -> dict[str, Any]:
        region = self._session.region_name or "us-east-1"  # the session reads AWS_DEFAULT_REGION
        return {"endpoint_url": url, "region_name": region, "config": self.client_config}


def _is_missing_bucket(error: ClientError) -> bool:
    return error.response["Error"]["Code"] == "NoSuchBucket"


def _url(endpoint: str, *, secure: bool) -> str:
    """Return a URL for ``minio:9000``, as MinIO's own clients write it, or for a whole URL."""
    if "://" in endpoint:
        return endpoint
    return f"{'https' if secure else 'http'}://{endpoint}"
