"""AnnData: h5ad files and objects in memory."""
