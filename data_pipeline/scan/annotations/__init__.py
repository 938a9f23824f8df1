"""What is known of tracks beside their audio: tables of one's own, and those of the public sets."""
