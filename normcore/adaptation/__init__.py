"""What is done to the norms of a trained model: statistics re-estimated, folded away, replaced."""

from normcore.adaptation.conversion import as_torch, convert
from normcore.adaptation.folding import fold, fold_pair
from normcore.adaptation.reestimation import adapt_to_domain, reestimate

__all__ = ["adapt_to_domain", "as_torch", "convert", "fold", "fold_pair", "reestimate"]
