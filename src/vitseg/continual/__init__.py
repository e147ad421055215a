"""Adding, removing and renaming classes of a trained model, and studies of class-incremental learning."""
