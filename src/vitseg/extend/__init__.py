"""New classes for a trained model: learnt without touching the old ones, calibrated, renamed, removed."""
