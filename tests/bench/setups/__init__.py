"""What is measured: llamawire, the servers beside it, each started on free ports."""
