"""`vitseg data prepare`: published data sets downloaded, unpacked, converted to what `data` opens, and counted."""
