"""Work off the event loop: everything the core orders that may block."""

from typing import assert_never, final

from protocol.commands import AppendFile, Job, JobResult, LoadFiles, UpdateFiles, WorkOnLogin
from protocol.config import Config, RefreshMode
from protocol.files import UpdateFailed
from transports import data_files, disk
from transports.credential_file import CredentialFiles


@final
class Jobs:
    """Carries out jobs, each in a thread of the caller's."""

    def __init__(self, config: Config) -> None:
        self._logins = CredentialFiles(config.data_dir, keep=config.oauth_refresh is RefreshMode.FILE)

    def carry_out(self, job: Job) -> JobResult:
        """Do it; may block. Whatever goes wrong is a result: nobody else would hear of it."""
        try:
            return self._carried_out(job)
        except Exception as error:
            return UpdateFailed(f"internal error: {type(error).__name__}")

    def _carried_out(self, job: Job) -> JobResult:
        match job:
            case LoadFiles():
                return disk.load(job.paths, job.fingerprint)
            case UpdateFiles():
                return data_files.update(job.lock, job.paths, job.update)
            case AppendFile():
                return data_files.append(job.path, job.data)
            case WorkOnLogin():
                return self._logins.carry_out(job.work)
            case _:
                assert_never(job)

    def close(self) -> None:
        """Let go of every lock; for a shutdown that could not wait."""
        self._logins.release_all()
