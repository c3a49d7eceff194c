"""Translation of the error texts of Lance and obstore into errors of SLAF.

Both report the answer of a server as text, which may name access keys: messages repeat only its
status and error code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from slaf.errors import AccessDenied, NoSuchBucket, SlafError, StorageError, StorageUnavailable
from slaf.storage.urls import is_url, redacted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["safe_cause", "short_reason", "storage_error", "translate_lance_error"]


# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
# https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|InvalidBucketName|bucket does not exist")
_DENIED = re.compile(
    r"\b40[13] (?:Forbidden|Unauthorized)|status(?: code)?:? 40[13]\b|AccessDenied|"
    r"AuthenticationFailed|AuthorizationFailure|Unauthenticated|PermissionDenied|"
    r"Missing(?:AccessKeyId|SecretAccessKey|Account)|CredentialsNotLoaded|"
    r"credentials? (?:provider|could not|were not)|no providers in chain",
    re.IGNORECASE,
)
_NETWORK = re.compile(
    r"error sending request|connection (?:error|refused|reset|closed)|dns error|"
    r"timed? ?out|operation timed out|error decoding response body|HTTP error|"
    r"\b5\d\d (?:Internal|Service|Bad Gateway|Gateway)|status(?: code)?:? 5\d\d\b|"
    r"after \d+ retries|client error \(Connect\)",
    re.IGNORECASE,
)
_STATUS = re.compile(r"(?:status code:|with status|status:?) (\d{3}(?: [A-Z][A-Za-z ]+)?)")
_CODE = re.compile(r"<Code>([A-Za-z]+)</Code>")
_SIGNED_URL: Final = re.compile(r"(https?://[^\s?)]*)\?[^\s)]*")
_MAX_LENGTH = 300

# The line of its own source that Lance appends, a path of the machine that compiled it.
_LANCE_SOURCE_LINE = re.compile(r",? ?/[^\s,()]+\.rs:\d+(?::\d+)?")


def storage_error(label: str, verb: str, error: BaseException) -> StorageError:
    """The error to raise for a failure of a library to `verb` an object of a bucket.

    Parameters
    ----------
    label
        The object, for the message.
    verb
        The operation that failed: read, write, list, remove.
    error
        The exception of the library.
    """
    text = str(error)
    if _NO_BUCKET.search(text):
        msg = f"{label}: cannot {verb} it: there is no such bucket; check its name"
        return NoSuchBucket(msg)
    if isinstance(error, PermissionError) or _DENIED.search(text):
        msg = (
            f"{label}: cannot {verb} it: access is denied ({short_reason(text)}); check the "
            "credentials and their permissions"
        )
        return AccessDenied(msg)
    if _NETWORK.search(text):
        msg = (
            f"{label}: cannot {verb} it: the storage cannot be reached, or its answer is invalid "
            f"({short_reason(text)}); check the network and run the same command again"
        )
        return StorageUnavailable(msg)
    return StorageError(f"{label}: cannot {verb} it: {short_reason(text)}")


def translate_lance_error(
    uri: str, error: Exception, otherwise: Callable[[str], SlafError]
) -> SlafError:
    """The error to raise for an error of Lance.

    Parameters
    ----------
    uri
        The address of the table.
    error
        The exception of Lance.
    otherwise
        Makes the error from its text if no bucket caused it.
    """
    if not is_url(uri):
        return otherwise(_LANCE_SOURCE_LINE.sub("", str(error)))
    failure = storage_error(redacted(uri), "read or write", error)
    return otherwise(short_reason(str(error))) if type(failure) is StorageError else failure


def safe_cause(uri: str, error: Exception) -> Exception | None:
    """The error, to chain as a cause; None for a URL, whose errors may hold secrets."""
    return None if is_url(uri) else error


def short_reason(text: str) -> str:
    """The status and error code of a server's answer, or else the start of the text."""
    status, code = _STATUS.search(text), _CODE.search(text)
    if status:
        return f"{status[1].strip()}, {code[1]}" if code else status[1].strip()
    first = text.partition("\n\nDebug source")[0]
    first = re.sub(r"<[^>]*>", " ", _SIGNED_URL.sub(r"\1", first))
    return " ".join(first.split())[:_MAX_LENGTH]
