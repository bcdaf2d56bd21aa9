"""What other projects could take as it is: nothing here imports anything else of this one."""
