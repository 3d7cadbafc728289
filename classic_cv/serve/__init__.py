"""Fitted models behind HTTP; a classical model as the fallback of a deep one."""
