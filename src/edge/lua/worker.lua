require("edge").start()
