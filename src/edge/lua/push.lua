require("edge").push()
