"""archscout: from a task to a small, accurate, trained PyTorch network, by neural architecture search."""

__version__ = "0.1.0"
