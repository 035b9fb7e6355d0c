"""The pages that people open in a browser: judge images, look verdicts up, sign in."""
