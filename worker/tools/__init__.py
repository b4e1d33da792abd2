"""What people need around the worker: look into its topics, judge records as it would, send dead
letters back.
"""
