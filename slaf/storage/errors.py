"""What a bucket's refusal means, told from the text of those who talk to it.

Lance and obstore give the answer of the server as text, in which there may be names of keys;
nothing of it is shown but its status and its code.
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
_URL: Final = re.compile(r"(https?://[^\s?)]*)\?[^\s)]*")
_LONGEST = 300

# Where in its own source Lance found it, on the machine that compiled it.
_IN_LANCE = re.compile(r",? ?/[^\s,()]+\.rs:\d+(?::\d+)?")


def storage_error(place: str, verb: str, error: BaseException) -> StorageError:
    """The error to raise for one of a library, which said it of a place in a bucket."""
    text = str(error)
    if _NO_BUCKET.search(text):
        msg = f"{place}: cannot {verb} it, for there is no such bucket; check its name"
        return NoSuchBucket(msg)
    if isinstance(error, PermissionError) or _DENIED.search(text):
        msg = (
            f"{place}: cannot {verb} it, for access is denied ({short_reason(text)}); check the "
            "credentials, and what they allow"
        )
        return AccessDenied(msg)
    if _NETWORK.search(text):
        msg = (
            f"{place}: cannot {verb} it, for the storage cannot be reached, or does not answer "
            f"as it should ({short_reason(text)}); check the network, and run the same command "
            "again"
        )
        return StorageUnavailable(msg)
    return StorageError(f"{place}: cannot {verb} it: {short_reason(text)}")


def translate_lance_error(
    place: str, error: Exception, otherwise: Callable[[str], SlafError]
) -> SlafError:
    """What an error of Lance means.

    Parameters
    ----------
    place
        The table, by its address.
    error
        What was raised.
    otherwise
        Makes the error to raise, of its text, where no bucket is to blame.
    """
    if not is_url(place):
        return otherwise(_IN_LANCE.sub("", str(error)))
    found = storage_error(redacted(place), "read or write", error)
    return otherwise(short_reason(str(error))) if type(found) is StorageError else found


def safe_cause(place: str, error: Exception) -> Exception | None:
    """What may be shown as the cause of an error: nothing that a bucket answered."""
    return None if is_url(place) else error


def short_reason(text: str) -> str:
    """The status and the code of an answer, or else the first lines of a text."""
    status, code = _STATUS.search(text), _CODE.search(text)
    if status:
        return f"{status[1].strip()}, {code[1]}" if code else status[1].strip()
    first = text.partition("\n\nDebug source")[0]
    first = re.sub(r"<[^>]*>", " ", _URL.sub(r"\1", first))
    return " ".join(first.split())[:_LONGEST]
