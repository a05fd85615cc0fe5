package checker

var p0 = Partition{"t", 0}
