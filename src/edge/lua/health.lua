require("edge").health()
