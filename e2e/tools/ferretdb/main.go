// Command ferretdb is FerretDB on SQLite files: it speaks MongoDB's protocol, in clear and without a login. It is a program of the
// lab's own because FerretDB's starts only if it was built in a checkout of its repository.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	address := flag.String("listen", "127.0.0.1:27017", "address to listen at")
	directory := flag.String("data", ".", "directory of the databases")
	flag.Parse()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: *address},
		Handler:   "sqlite",
		SQLiteURL: "file:" + *directory + "/",
	})
	if err == nil {
		err = server.Run(context.Background())
	}
	if err != nil {
		slog.Error("ferretdb ends", "error", err)
		os.Exit(1)
	}
}
