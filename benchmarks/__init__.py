"""Side by side with peers, as ratios within one run: machines differ, ratios hardly."""
