"""UsageInfo: a tracker in three words, log_request, log_response and log_error, for one client and user."""

from tokentrail._usage_info._facade import UsageInfo

__all__ = ["UsageInfo"]
