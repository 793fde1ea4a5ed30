"""A folder to the Hugging Face Hub: private unless asked, by the user's own login."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from samdan.records import DataError, EnvironmentFailure, first_line
from samdan.redaction import redacted, secrets_of

_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")


def require_name(name: str) -> str:
    """``OWNER/NAME``. Raises DataError for anything else."""
    if not _NAME.fullmatch(name):
        raise DataError(f"--push-to-hub {name[:100]!r}: expected OWNER/NAME")
    return name


def push(folder: Path, name: str, public: bool) -> str:
    """Makes the repository and uploads the folder as one commit; returns its address.

    The token is the library's own affair: ``HF_TOKEN`` or the stored login. Raises
    EnvironmentFailure where the Hub refuses or cannot be reached, and DataError where the
    repository is public and was not asked to be.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api: Any = HfApi()
    of_http: Any = HfHubHTTPError.__bases__[0]  # of the HTTP library: a lost connection
    try:
        api.create_repo(name, private=not public, exist_ok=True)
        if not public and not api.repo_info(name).private:
            raise DataError(
                f"--push-to-hub {name}: this repository is public; nothing was uploaded. Add "
                f"--public, or name another one"
            )
        done = api.upload_folder(
            folder_path=str(folder), repo_id=name, commit_message="Upload by samdan export"
        )
    except LocalTokenNotFoundError:
        raise EnvironmentFailure(
            f"--push-to-hub {name}: no token: set HF_TOKEN or run `hf auth login`"
        ) from None
    except OfflineModeIsEnabled:
        raise EnvironmentFailure(
            f"--push-to-hub {name}: HF_HUB_OFFLINE is set; unset it to upload"
        ) from None
    except (HfHubHTTPError, of_http, OSError) as error:
        why = redacted(first_line(error), secrets_of(os.environ))
        raise EnvironmentFailure(f"--push-to-hub {name}: {why}") from None
    return str(getattr(done, "repo_url", None) or name)
