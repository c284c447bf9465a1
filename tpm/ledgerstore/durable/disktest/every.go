package disktest

// Every calls try once for each way in which its pick can answer, at most
// limit times, and returns how often. try must ask the same way when it is
// answered the same way.
func Every(limit int, try func(pick func(n int) int)) int {
	var answer, of []int
	for tried := 1; ; tried++ {
		asked := 0
		try(func(n int) int {
			if asked == len(answer) {
				answer, of = append(answer, 0), append(of, n)
			}
			asked++
			return answer[asked-1]
		})
		last := len(answer) - 1
		for last >= 0 && answer[last] == of[last]-1 {
			last--
		}
		if last < 0 || tried == limit {
			return tried
		}
		answer, of = answer[:last+1], of[:last+1]
		answer[last]++
	}
}
