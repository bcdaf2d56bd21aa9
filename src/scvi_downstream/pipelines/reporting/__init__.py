"""Everything joined: one AnnData and one page for people."""
