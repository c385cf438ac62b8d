require("edge").access()
