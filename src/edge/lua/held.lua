require("edge").held()
