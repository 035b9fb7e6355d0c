"""The pages for people with a browser: judge images, read verdicts, sign in."""
