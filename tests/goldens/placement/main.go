// Placement writes what upstream's scheduler decides over generated clusters, as goldens for pintle's default scheduler.
//
//	placement generate [-clusters N] [-out FILE]   draws clusters and asks upstream's default profile, used as a library
//	placement live -bin FOLDER [-clusters N]       lets the real kube-scheduler decide a sample, and compares it with the library
package main

import (
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"k8s.io/klog/v2"
)

// Golden is a line of the file.
type Golden struct {
	Cluster  *Cluster   `json:"cluster"`
	Verdicts []*Verdict `json:"verdicts"`
}

func main() {
	flags := flag.NewFlagSet("placement", flag.ExitOnError)
	clusters := flags.Int("clusters", 320, "how many clusters, four pods each")
	first := flags.Uint64("first", 0, "the first seed")
	out := flags.String("out", "goldens.json.gz", "the file to write")
	bin := flags.String("bin", "", "the folder with kube-apiserver, etcd and kube-scheduler")
	verb := "generate"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	must(flags.Parse(os.Args[min(2, len(os.Args)):]))
	klog.LogToStderr(false)
	klog.SetOutput(discard{})
	switch verb {
	case "generate":
		must(generate(*first, *clusters, *out))
	case "live":
		must(live(*bin, *first, *clusters))
	default:
		fmt.Fprintf(os.Stderr, "unknown verb %q\n", verb)
		os.Exit(2)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func generate(first uint64, clusters int, out string) error {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	packed, err := gzip.NewWriterLevel(file, gzip.BestCompression)
	if err != nil {
		return err
	}
	lines := json.NewEncoder(packed)
	fit, refused, evicting := 0, 0, 0
	for seed := first; seed < first+uint64(clusters); seed++ {
		cluster := Draw(seed)
		verdicts, err := judge(cluster)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		for _, verdict := range verdicts {
			switch {
			case len(verdict.Fit) > 0:
				fit++
			case len(verdict.Evict) > 0:
				evicting++
			default:
				refused++
			}
		}
		if err := lines.Encode(Golden{cluster, verdicts}); err != nil {
			return err
		}
	}
	fmt.Printf("%d clusters, %d pods: %d fit, %d evict others, %d neither\n", clusters, fit+refused+evicting, fit, evicting, refused)
	return packed.Close()
}

func judge(cluster *Cluster) ([]*Verdict, error) {
	oracle, err := NewOracle(cluster.Objects())
	if err != nil {
		return nil, err
	}
	defer oracle.Close()
	var verdicts []*Verdict
	for _, pod := range cluster.Pending {
		verdict, err := oracle.Ask(pod)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}
