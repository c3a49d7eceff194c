"""Coverage of aligned reads: BAM, CRAM and SAM."""
