"""A model without a model: rules that speak the tool-calling protocol, so that all else can run.

Pure functions of the request: the same request always gets the same answer, ids included.
What tools and memories return is data here and never read as an instruction.
"""

from services.runtime.offline.model import OfflineModel

__all__ = ["OfflineModel"]
