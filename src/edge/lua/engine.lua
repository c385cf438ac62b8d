require("edge").engine()
