"""From a folder of submissions that nobody trusts to marks in nbgrader's gradebook: `normcore grade`."""
