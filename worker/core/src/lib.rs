//! Stockstream's pure core: windows, checkpoints, lineage, commit decisions
