// A small program of many modules. Built, it says how many it was built from.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/viper"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"gopkg.in/yaml.v3"
)

// parts has something of every module, so that the linker keeps them all.
func parts() []any {
	group, _ := errgroup.WithContext(context.Background())
	return []any{
		chi.NewRouter(),
		uuid.Nil,
		prometheus.NewRegistry(),
		logrus.New(),
		viper.New(),
		zap.NewNop(),
		group,
		cases.Title(language.English),
		yaml.Node{},
		http.MethodGet,
	}
}

func main() {
	root := &cobra.Command{
		Use: "demo",
		RunE: func(command *cobra.Command, _ []string) error {
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return fmt.Errorf("this binary does not know its modules")
			}
			_, err := fmt.Fprintf(command.OutOrStdout(), "%d parts from %d modules\n", len(parts()), len(info.Deps))
			return err
		},
	}
	if root.Execute() != nil {
		os.Exit(1)
	}
}
