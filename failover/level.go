package failover

// Features is the highest feature level that this version understands. A level
// is raised by one with each release that adds commands to the log.
const Features = 2

// Level is the feature level in force: the highest whose commands may stand in
// the log. It is 1 in a new cluster and is raised when every voter understands
// more (`RaiseFeatures`).
func (s *State) Level() int { return max(1, s.Features) }
