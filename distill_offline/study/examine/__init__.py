"""What the students of a study learned and where they fail, sentence by sentence."""
